# bpf/*.bpf.c -> build/bpf/*.bpf.o, and the programs that only tests load -> build/bpf/test/*.bpf.o.
find_program(BPF_CLANG NAMES clang-14 clang REQUIRED)
find_program(BPF_STRIP NAMES llvm-strip-14 llvm-strip REQUIRED)
find_program(BPFTOOL NAMES bpftool PATHS /usr/sbin /sbin REQUIRED)

set(bpf_dir ${CMAKE_BINARY_DIR}/bpf)
set(vmlinux_btf /sys/kernel/btf/vmlinux)
file(MAKE_DIRECTORY ${bpf_dir}/test)

hadal_sources(bpf_sources bpf/*.bpf.c)
hadal_sources(bpf_test_sources test/bpf/*.bpf.c test/*/programs/*.bpf.c)

if(NOT EXISTS ${vmlinux_btf} AND NOT EXISTS ${bpf_dir}/vmlinux.h)
  message(FATAL_ERROR "${vmlinux_btf} is missing: this kernel was built without CONFIG_DEBUG_INFO_BTF, so vmlinux.h cannot be "
    "generated. Build on another machine, or put a vmlinux.h of a 6.1 or newer x86_64 kernel at ${bpf_dir}/vmlinux.h")
endif()

# The kernel's types, not its layout: CO-RE relocates against the kernel that loads the object.
add_custom_command(OUTPUT ${bpf_dir}/vmlinux.h
  COMMAND ${BPFTOOL} btf dump file ${vmlinux_btf} format c > ${bpf_dir}/vmlinux.h.new
  COMMAND ${CMAKE_COMMAND} -E rename ${bpf_dir}/vmlinux.h.new ${bpf_dir}/vmlinux.h
  COMMENT "Generating vmlinux.h" VERBATIM)

set(bpf_objects "")
function(hadal_bpf_object source object)
  add_custom_command(OUTPUT ${object}
    COMMAND ${BPF_CLANG} -target bpf -mcpu=v3 -O2 -g -std=gnu11 -Wall -Wextra -Werror -Wno-unused-parameter
      -Wno-missing-field-initializers -D__TARGET_ARCH_x86 -I${bpf_dir} -I${CMAKE_SOURCE_DIR}/bpf -I${CMAKE_SOURCE_DIR} -idirafter /usr/include/x86_64-linux-gnu
      -MD -MT ${object} -MF ${object}.d -c ${source} -o ${object}
    # DWARF goes, BTF stays.
    COMMAND ${BPF_STRIP} -g ${object}
    DEPENDS ${source} ${bpf_dir}/vmlinux.h DEPFILE ${object}.d
    COMMENT "Compiling ${source}" VERBATIM)
endfunction()

foreach(source IN LISTS bpf_sources)
  get_filename_component(name ${source} NAME_WLE)
  hadal_bpf_object(${source} ${bpf_dir}/${name}.o)
  list(APPEND bpf_objects ${bpf_dir}/${name}.o)
endforeach()
foreach(source IN LISTS bpf_test_sources)
  get_filename_component(name ${source} NAME_WLE)
  hadal_bpf_object(${source} ${bpf_dir}/test/${name}.o)
  list(APPEND bpf_objects ${bpf_dir}/test/${name}.o)
endforeach()
add_custom_target(bpf ALL DEPENDS ${bpf_objects} ${bpf_dir}/vmlinux.h)
