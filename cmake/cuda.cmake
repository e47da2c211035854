# DISTMLIP_CUDA=AUTO compiles the CUDA kernels where a CUDA compiler is found, ON demands one.
set(DISTMLIP_WITH_CUDA OFF)
if(NOT DISTMLIP_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 100-real 100-virtual)
    endif()
    enable_language(CUDA)
    set(CMAKE_CUDA_STANDARD 17)  # CMake 3.25 does not know how to ask nvcc for 20
    set(DISTMLIP_WITH_CUDA ON)
  elseif(DISTMLIP_CUDA STREQUAL "ON")
    message(FATAL_ERROR "DISTMLIP_CUDA=ON, but CMake found no CUDA compiler; "
      "put nvcc on PATH, set CUDACXX, or build with -DDISTMLIP_CUDA=AUTO")
  endif()
endif()
message(STATUS "CUDA kernels: ${DISTMLIP_WITH_CUDA}")
