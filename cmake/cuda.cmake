# pare_cuda.so: the GPU plug-in (src/kernels/cuda, src/run/cuda*.c), built where PARE_CUDA is on. nvcc is called directly: CMake's
# own CUDA support would want it for every build. The library and the program never need it.
set(PARE_CUDA_ARCHITECTURES "75;80;86;89;90" CACHE STRING "compute capabilities to build for; the last one also as PTX")
option(PARE_CUDA_LINES "line numbers for ncu and compute-sanitizer; they make the plug-in four times as large" OFF)
find_program(PARE_NVCC nvcc PATHS /usr/local/cuda/bin /usr/local/cuda-13.0/bin REQUIRED)
get_filename_component(PARE_NVCC_REAL "${PARE_NVCC}" REALPATH)
get_filename_component(PARE_CUDA_ROOT "${PARE_NVCC_REAL}/../.." ABSOLUTE)

set(nvcc_flags -std=c++17 -O3 -I${CMAKE_SOURCE_DIR}/src -I${CMAKE_SOURCE_DIR}/include -Xcompiler -fPIC,-fvisibility=hidden
    --expt-relaxed-constexpr -Werror all-warnings)
if(PARE_CUDA_LINES)
  list(APPEND nvcc_flags -lineinfo)
endif()
foreach(architecture ${PARE_CUDA_ARCHITECTURES})
  list(APPEND nvcc_flags -gencode arch=compute_${architecture},code=sm_${architecture})
  set(newest ${architecture})
endforeach()
list(APPEND nvcc_flags -gencode arch=compute_${newest},code=compute_${newest})

file(GLOB cuda_headers ${CMAKE_SOURCE_DIR}/src/kernels/cuda/*.cuh ${CMAKE_SOURCE_DIR}/src/kernels/cuda/*.h)
set(cuda_objects)
set(hopper_flags ${nvcc_flags})
list(FILTER hopper_flags EXCLUDE REGEX "^(-gencode|arch=)")
list(APPEND hopper_flags -gencode arch=compute_90a,code=sm_90a) # the matrix instructions of this one chip
foreach(name gemm_hopper gemm_f16_hopper gemm_bf16_hopper gemm_int8_hopper attend_hopper peak_hopper gemm ${PARE_CUDA_PORTABLE})
  set(object ${CMAKE_BINARY_DIR}/cuda/${name}.o)
  set(flags nvcc_flags)
  if(name MATCHES "_hopper$")
    set(flags hopper_flags)
  endif()
  add_custom_command(OUTPUT ${object} COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/cuda
                     COMMAND ${PARE_NVCC} ${${flags}} -c ${CMAKE_SOURCE_DIR}/src/kernels/cuda/${name}.cu -o ${object}
                     DEPENDS ${CMAKE_SOURCE_DIR}/src/kernels/cuda/${name}.cu ${cuda_headers} VERBATIM COMMENT "nvcc ${name}.cu")
  list(APPEND cuda_objects ${object})
endforeach()

set(PARE_CUDA_OBJECTS ${cuda_objects})
set_source_files_properties(${cuda_objects} PROPERTIES GENERATED TRUE EXTERNAL_OBJECT TRUE)
add_custom_target(cuda_kernels DEPENDS ${cuda_objects})

# What it shares with the library comes from the static library, member by member, and stays hidden in it.
add_library(pare_cuda MODULE ${PARE_CUDA_RUN} ${cuda_objects})
set_target_properties(pare_cuda PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/src/cli)
target_include_directories(pare_cuda PRIVATE src include)
target_include_directories(pare_cuda SYSTEM PRIVATE ${PARE_CUDA_ROOT}/include)
target_link_directories(pare_cuda PRIVATE ${PARE_CUDA_ROOT}/lib64 ${PARE_CUDA_ROOT}/lib)
target_link_libraries(pare_cuda PRIVATE $<TARGET_FILE:pare_static> cudart_static stdc++ Threads::Threads ${CMAKE_DL_LIBS} rt m)
target_link_options(pare_cuda PRIVATE -Wl,--exclude-libs,ALL -Wl,--gc-sections -Wl,-z,defs)
add_dependencies(pare_cuda pare_static cuda_kernels)
install(TARGETS pare_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/pare)
