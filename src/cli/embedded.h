/* The embedded default model and its evaluation text: installed beside the program, or in the
 * source tree. */
#ifndef PARE_CLI_EMBEDDED_H
#define PARE_CLI_EMBEDDED_H

/* The path of "ref-llama-11m" or "evaluation.txt" (malloc'ed): in $PARE_MODELS, in
 * share/pare/models beside the program's bin folder, or in the source tree that it was built from.
 * NULL where it is nowhere. */
char *cli_embedded_path(const char *name);

#endif
