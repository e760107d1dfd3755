# What `cmake --install` puts where: the program, the library with headers and pkg-config file, the manual page, shell
# completions, and the model that is built in with its evaluation text.
include(GNUInstallDirs)

# For libpare.a with the shared libraries of others; their own static closures (Requires.private) are not all packaged.
set(PARE_PRIVATE_LIBRARIES "")
foreach(library ${JANSSON_LIBRARIES} ${PCRE2_LIBRARIES} ${UTF8PROC_LIBRARIES} ${SQLITE_LIBRARIES} ${HWLOC_LIBRARIES}
                ${CRYPTO_LIBRARIES} ${CYAML_LIBRARIES} ${PANGOCAIRO_LIBRARIES} pthread m)
  string(APPEND PARE_PRIVATE_LIBRARIES " -l${library}")
endforeach()
# From the folder of pare.pc back to the prefix, so that an installed tree can be moved.
file(RELATIVE_PATH PARE_PREFIX_FROM_PC /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" PARE_PREFIX_FROM_PC "${PARE_PREFIX_FROM_PC}")
configure_file(cmake/pare.pc.in pare.pc @ONLY)

install(TARGETS pare RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS pare_static pare_shared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/pare DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(FILES ${CMAKE_BINARY_DIR}/pare.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# The manual page is the program's own help.
add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/pare.1
  COMMAND ${CMAKE_SOURCE_DIR}/scripts/manpage.sh $<TARGET_FILE:pare> > ${CMAKE_BINARY_DIR}/pare.1
  DEPENDS pare ${CMAKE_SOURCE_DIR}/scripts/manpage.sh VERBATIM)
add_custom_target(manpage ALL DEPENDS ${CMAKE_BINARY_DIR}/pare.1)
install(FILES ${CMAKE_BINARY_DIR}/pare.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)

install(FILES scripts/completions/pare.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME pare)
install(FILES scripts/completions/_pare DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(FILES scripts/completions/pare.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)

install(DIRECTORY models/ref-llama-11m DESTINATION ${CMAKE_INSTALL_DATADIR}/pare/models)
install(FILES models/evaluation.txt DESTINATION ${CMAKE_INSTALL_DATADIR}/pare/models)
install(DIRECTORY studies DESTINATION ${CMAKE_INSTALL_DATADIR}/pare FILES_MATCHING PATTERN "*.yaml")
