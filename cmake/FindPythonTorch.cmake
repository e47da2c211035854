# Imported targets PythonTorch::torch and PythonTorch::python: the torch that Python_EXECUTABLE imports.
#
# Not find_package(Torch): the configuration that a CUDA build of torch ships demands a full CUDA
# toolkit and overrides CMAKE_CUDA_ARCHITECTURES. Two include folders and three libraries are enough.
if(NOT DEFINED PythonTorch_ROOT)
  # The second try, with -E, looks past the PYTHONPATH overlay of pip's isolated build environment.
  foreach(_flags "" "-E")
    execute_process(
      COMMAND ${Python_EXECUTABLE} ${_flags} -c
              "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
      OUTPUT_VARIABLE _root
      OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET
      RESULT_VARIABLE _status)
    if(_status EQUAL 0)
      set(PythonTorch_ROOT "${_root}")
      break()
    endif()
  endforeach()
endif()
if(NOT DEFINED PythonTorch_ROOT)
  message(FATAL_ERROR "distmlip needs torch 2.11 or newer before it can be built; run: pip install torch==2.13.0")
endif()

file(STRINGS "${PythonTorch_ROOT}/version.py" _version REGEX "^__version__")
string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+[^']*" PythonTorch_VERSION "${_version}")
if(PythonTorch_VERSION VERSION_LESS 2.11)
  message(FATAL_ERROR "torch ${PythonTorch_VERSION} in ${PythonTorch_ROOT} is too old, distmlip needs 2.11 or newer; "
    "run: pip install torch==2.13.0")
endif()
message(STATUS "torch ${PythonTorch_VERSION}: ${PythonTorch_ROOT}")

foreach(_library c10 torch_cpu torch_python)
  find_library(PythonTorch_${_library} ${_library} PATHS "${PythonTorch_ROOT}/lib" NO_DEFAULT_PATH NO_CACHE REQUIRED)
endforeach()

add_library(PythonTorch::torch INTERFACE IMPORTED)
target_include_directories(PythonTorch::torch SYSTEM INTERFACE
  "${PythonTorch_ROOT}/include" "${PythonTorch_ROOT}/include/torch/csrc/api/include")
target_link_libraries(PythonTorch::torch INTERFACE "${PythonTorch_c10}" "${PythonTorch_torch_cpu}")

# For the bindings alone: needs a running Python.
add_library(PythonTorch::python INTERFACE IMPORTED)
target_link_libraries(PythonTorch::python INTERFACE PythonTorch::torch "${PythonTorch_torch_python}")
