# The kernels as one fatbin, for every architecture of ours this nvcc knows: Jetson Orin (87) and
# Thor (110), desktop and data center GPUs from Ampere to Blackwell (80, 86, 89, 90, 120); the newest
# also as PTX for what comes after it. JetPack 6's nvcc 12.6 knows no 110 and no 120; CUDA 13's knows
# all of them. Called by itself, nvcc needs no CMake language, hence no working CUDA program.

if(NOT DEFINED FASDK_NVCC)
  set(FASDK_NVCC "$ENV{CUDACXX}")
endif()
if(NOT FASDK_NVCC)
  find_program(FASDK_NVCC_FOUND nvcc PATHS /usr/local/cuda/bin "$ENV{CUDA_HOME}/bin")
  set(FASDK_NVCC ${FASDK_NVCC_FOUND})
endif()
set(works "no nvcc")
if(FASDK_NVCC)
  # It may be there and not go with this C++ compiler.
  file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/probe.cu "__global__ void probe() {}\n")
  execute_process(
    COMMAND ${FASDK_NVCC} -fatbin -std=c++17 -ccbin ${CMAKE_CXX_COMPILER} -o probe.fatbin probe.cu
    COMMAND ${FASDK_NVCC} --list-gpu-code
    WORKING_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}
    OUTPUT_VARIABLE known
    RESULTS_VARIABLE works
    ERROR_QUIET
  )
endif()
if(NOT works STREQUAL "0;0")
  if(FASDK_CUDA STREQUAL "ON")
    message(FATAL_ERROR "no working nvcc found: install the CUDA toolkit, "
                        "or set CUDACXX to its nvcc")
  endif()
  message(STATUS "fasdk's CUDA kernels: no nvcc, left out")
  return()
endif()

set(code)
foreach(architecture 80 86 87 89 90 110 120)
  if(known MATCHES "sm_${architecture}[\r\n]")
    list(APPEND code -gencode arch=compute_${architecture},code=sm_${architecture})
    set(newest ${architecture})
  endif()
endforeach()
if(NOT code)
  if(FASDK_CUDA STREQUAL "ON")
    message(FATAL_ERROR "${FASDK_NVCC} knows none of sm_80, 86, 87, 89, 90, 110, 120: "
                        "use CUDA 11.4 or later")
  endif()
  message(STATUS "fasdk's CUDA kernels: nvcc knows none of our architectures, left out")
  return()
endif()
list(APPEND code -gencode arch=compute_${newest},code=compute_${newest})
message(STATUS "fasdk's CUDA kernels: for ${code}")

# No contraction, as on the host.
set(sources sdk/native/cuda/preprocess.cu)
set(fatbin ${CMAKE_CURRENT_BINARY_DIR}/preprocess.fatbin)
file(GLOB headers CONFIGURE_DEPENDS sdk/native/include/fasdk/*.hpp)
add_custom_command(
  OUTPUT ${fatbin}
  COMMAND ${FASDK_NVCC} -fatbin -std=c++17 -O3 --fmad=false -Werror=all-warnings ${code}
          -ccbin ${CMAKE_CXX_COMPILER} -I${CMAKE_CURRENT_SOURCE_DIR}/sdk/native/include -o ${fatbin}
          ${CMAKE_CURRENT_SOURCE_DIR}/${sources}
  DEPENDS ${sources} ${headers}
  COMMENT "Compiling the CUDA kernels"
  VERBATIM
)
add_custom_target(fasdk_fatbin ALL DEPENDS ${fatbin})
install(FILES ${fatbin} DESTINATION fasdk/kernels)
