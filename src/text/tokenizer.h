/* Inside of a tokenizer: what the loaders fill and the encoder uses. */
#ifndef PARE_TEXT_TOKENIZER_H
#define PARE_TEXT_TOKENIZER_H

#include "base/json.h"
#include "formats/gguf.h"
#include "text/added.h"
#include "text/bpe.h"
#include "text/decode.h"
#include "text/normalize.h"
#include "text/pretokenize.h"
#include "text/vocab.h"

#include <pare/tokenizer.h>

enum { PARE_JSON_LIMIT = 256 << 20 }; /* bytes of a tokenizer.json */

typedef struct pare_id_list {
    int32_t *ids;
    size_t count, capacity;
} pare_id_list;

struct pare_tokenizer {
    char *file; /* for messages */
    pare_vocab vocab;
    pare_bpe bpe;
    pare_added added;
    pare_normalizer normalizer;
    pare_pretokenizer pretokenizer;
    pare_decoder decoder;
    pare_id_list prefix, suffix; /* what ADD_SPECIAL puts around a text */
    pare_id_list ends;           /* EOS and end-of-turn tokens */
    int32_t bos, eos, unk, pad;  /* or -1 */
    char *chat_template;
    bool from_gguf;
    pare_gguf gguf; /* kept open for exporting its values as they are */
};

pare_status pare_id_list_add(pare_id_list *list, int32_t id);

/* Each fills a zeroed tokenizer, whose `file` is set. */
pare_status pare_tokenizer_load_json(pare_tokenizer *tokenizer, const json_t *json);
pare_status pare_tokenizer_load_gguf(pare_tokenizer *tokenizer, const char *path);
/* tokenizer_config.json, special_tokens_map.json, generation_config.json, chat_template.jinja,
 * where they exist. */
pare_status pare_tokenizer_load_folder(pare_tokenizer *tokenizer, const char *folder);
/* From memory, without a folder's extras. file: for messages. */
pare_status pare_tokenizer_open_memory(const char *text, size_t size, const char *file,
                                       pare_tokenizer **out);
/* After all tokens are there: trees of added tokens, ids of bytes and of end tokens. */
pare_status pare_tokenizer_finish(pare_tokenizer *tokenizer);
/* The id of a token or an added token by its text, or -1. */
int32_t pare_tokenizer_find(const pare_tokenizer *tokenizer, const char *text, size_t length);
pare_status pare_tokenizer_load_post_processor(pare_tokenizer *tokenizer, const json_t *json);

pare_status pare_text_copy(const char *text, size_t length, char **copy);

/* The regular expressions of a tokenizer.ggml.pre name; NULL where the name is unknown. */
typedef struct pare_pre {
    const char *name;
    const char *patterns[6]; /* NULL ends */
    bool ignore_merges, add_bos;
} pare_pre;
const pare_pre *pare_pre_find(const char *name, size_t length);

#endif
