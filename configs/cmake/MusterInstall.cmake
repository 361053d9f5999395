# What cmake --install lays down: programs, headers with the libraries behind them, a CMake package and configs. The tree names no
# absolute path of its own, so that it works from any prefix and can be moved.
include(CMakePackageConfigHelpers)
get_property(_modules GLOBAL PROPERTY MUSTER_MODULES)
get_property(_programs GLOBAL PROPERTY MUSTER_PROGRAMS)
add_custom_target(programs DEPENDS ${_programs})  # what users run, without tests and benchmarks
set(_package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/muster)

foreach(_module IN LISTS _modules)
  get_target_property(_sets ${_module} INTERFACE_HEADER_SETS)
  set(_headers "")
  if(_sets)
    set(_headers FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/muster)
  endif()
  install(TARGETS ${_module} EXPORT muster_targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}/muster ${_headers})
endforeach()
install(TARGETS muster_flags EXPORT muster_targets)
install(TARGETS ${_programs} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(EXPORT muster_targets NAMESPACE muster:: FILE muster-targets.cmake DESTINATION ${_package_folder})

configure_package_config_file(${CMAKE_SOURCE_DIR}/configs/cmake/muster-config.cmake.in ${CMAKE_BINARY_DIR}/muster-config.cmake
  INSTALL_DESTINATION ${_package_folder})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/muster-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/muster-config.cmake ${CMAKE_BINARY_DIR}/muster-config-version.cmake
  configs/cmake/FindMusterTorch.cmake DESTINATION ${_package_folder})
install(DIRECTORY configs/ DESTINATION ${CMAKE_INSTALL_DATADIR}/muster/configs PATTERN cmake EXCLUDE)
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/muster OPTIONAL)
