# The kernel, for every architecture of ours this nvcc knows: Jetson Orin (87) and Thor (110), and
# desktop GPUs from Ampere to Blackwell (86, 89, 120, the last also as PTX for what comes after it).
# JetPack 6's nvcc 12.6 knows no 110 and no 120; CUDA 13's knows all of them.

check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  if(FASDK_CUDA STREQUAL "ON")
    message(FATAL_ERROR "no working nvcc found: install the CUDA toolkit, "
                        "or set CUDACXX to its nvcc")
  endif()
  message(STATUS "fasdk._cuda_preprocess: no nvcc, left out")
  return()
endif()

execute_process(
  COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-code
  OUTPUT_VARIABLE known
  RESULT_VARIABLE failed
)
set(architectures)
foreach(architecture 86 87 89 110 120)
  if(NOT failed AND known MATCHES "sm_${architecture}[\r\n]")
    list(APPEND architectures ${architecture}-real)
  endif()
endforeach()
if(NOT architectures)
  if(FASDK_CUDA STREQUAL "ON")
    message(FATAL_ERROR "${CMAKE_CUDA_COMPILER} knows none of sm_86, 87, 89, 110, 120: "
                        "use CUDA 11.4 or later")
  endif()
  message(STATUS "fasdk._cuda_preprocess: nvcc knows none of our architectures, left out")
  return()
endif()
list(POP_BACK architectures newest)
string(REPLACE "-real" "" newest ${newest})
list(APPEND architectures ${newest})  # code and PTX

set(CMAKE_CUDA_ARCHITECTURES ${architectures})
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
message(STATUS "fasdk._cuda_preprocess: for ${architectures}")

# No contraction, as on the host. The runtime is linked in; it finds the driver when first used, so
# the module loads where there is none.
add_library(fasdk_cuda STATIC sdk/native/cuda/preprocess.cu)
set_target_properties(
  fasdk_cuda PROPERTIES CUDA_RUNTIME_LIBRARY Static POSITION_INDEPENDENT_CODE ON
                        CUDA_VISIBILITY_PRESET hidden
)
target_include_directories(
  fasdk_cuda PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/sdk/native/include
                    ${CMAKE_CURRENT_SOURCE_DIR}/sdk/native/cuda
)
target_compile_options(
  fasdk_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false;-Werror=all-warnings>
)

if(nanobind_FOUND)
  nanobind_add_module(_cuda_preprocess NB_STATIC sdk/native/cuda/module.cpp)
  target_link_libraries(_cuda_preprocess PRIVATE fasdk_core fasdk_cuda)
  install(TARGETS _cuda_preprocess LIBRARY DESTINATION fasdk)
endif()
