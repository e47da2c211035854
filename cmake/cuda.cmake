# DISTMLIP_CUDA=AUTO compiles the CUDA kernels where a CUDA compiler that can is found, ON demands one.
set(DISTMLIP_WITH_CUDA OFF)
set(DISTMLIP_CUDA_ARCHITECTURES "")
if(NOT DISTMLIP_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
      include(cuda_architectures)
      known_cuda_architectures("${CMAKE_CUDA_COMPILER}" "80;90;100" CMAKE_CUDA_ARCHITECTURES)
    endif()
    enable_language(CUDA)
    set(CMAKE_CUDA_STANDARD 17)  # CMake 3.25 does not know how to ask nvcc for 20
    include(CheckSourceCompiles)
    check_source_compiles(CUDA "
      #include <cub/device/device_scan.cuh>
      cudaError_t sums(void* scratch, size_t& bytes, const int* counts, long* sums, long n) {
        return cub::DeviceScan::InclusiveScanInit(scratch, bytes, counts, sums, ::cuda::std::plus<long>(), 0L, n);
      }
      int main() {}" DISTMLIP_CUDA_COMPILES)
    if(DISTMLIP_CUDA_COMPILES)
      set(DISTMLIP_WITH_CUDA ON)
      set(DISTMLIP_CUDA_ARCHITECTURES ${CMAKE_CUDA_ARCHITECTURES})
    endif()
  endif()
  if(DISTMLIP_CUDA STREQUAL "ON" AND NOT DISTMLIP_WITH_CUDA)
    message(FATAL_ERROR "DISTMLIP_CUDA=ON, but CMake found no CUDA compiler that compiles the kernels (found: "
      "${CMAKE_CUDA_COMPILER} ${CMAKE_CUDA_COMPILER_VERSION}); put nvcc 12.6 or newer on PATH, set CUDACXX, or build "
      "with -DDISTMLIP_CUDA=AUTO")
  endif()
endif()
message(STATUS "CUDA kernels: ${DISTMLIP_WITH_CUDA} ${DISTMLIP_CUDA_ARCHITECTURES}")
