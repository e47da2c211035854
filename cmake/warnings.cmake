# Compile options of all our own code; third-party headers are SYSTEM includes and stay silent.
add_library(distmlip_options INTERFACE)
target_include_directories(distmlip_options INTERFACE "${CMAKE_CURRENT_SOURCE_DIR}/csrc")
target_compile_options(distmlip_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion>)
# A fused multiply-add in one loop and not in another would give an edge and its reverse
# lengths that differ in the last bit (docs/design.md, local graph).
target_compile_options(distmlip_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off>)

option(DISTMLIP_WERROR "Turn compiler warnings into errors" OFF)
if(DISTMLIP_WERROR)
  target_compile_options(distmlip_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()

set(DISTMLIP_SANITIZE "" CACHE STRING "Sanitizer to build with: address, undefined or thread")
if(DISTMLIP_SANITIZE)
  target_compile_options(distmlip_options INTERFACE -fsanitize=${DISTMLIP_SANITIZE} -g -fno-omit-frame-pointer)
  target_link_options(distmlip_options INTERFACE -fsanitize=${DISTMLIP_SANITIZE})
endif()
