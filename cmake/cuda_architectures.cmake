# The architectures in `wanted` that `compiler`, an nvcc, knows: machine code for each, and PTX of the last, which
# drivers compile for later ones. All of them if it does not say what it knows.
function(known_cuda_architectures compiler wanted result)
  execute_process(COMMAND "${compiler}" --list-gpu-arch OUTPUT_VARIABLE _listed ERROR_QUIET)
  string(REGEX MATCHALL "compute_[0-9]+" _listed "${_listed}")
  set(_known)
  foreach(_architecture IN LISTS wanted)
    if(NOT _listed OR "compute_${_architecture}" IN_LIST _listed)
      list(APPEND _known ${_architecture}-real)
      set(_last ${_architecture}-virtual)
    endif()
  endforeach()
  set(${result} ${_known} ${_last} PARENT_SCOPE)
endfunction()
