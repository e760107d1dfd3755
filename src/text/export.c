#include "text/export.h"

#include "base/fail.h"
#include "base/file.h"
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char metaspace[] = "\xe2\x96\x81";

/* What the two kinds of GGUF vocabularies can say of a tokenizer. */
typedef struct description {
    bool llama;        /* SentencePiece-style */
    bool space_prefix; /* llama: "▁" before a text */
    const char *pre;   /* gpt2: the pre-tokenizer's name, or NULL where it has none */
    bool exact;        /* nothing is lost */
} description;

static pare_status copy_values(const pare_gguf *gguf, pare_gguf_writer *writer)
{
    for (size_t i = 0; i < gguf->value_count; i++)
        if (strncmp(gguf->values[i].key, "tokenizer.", 10) == 0)
            pare_gguf_copy(writer, &gguf->values[i]);
    return PARE_OK;
}

/* llama.cpp's names stand for patterns that spell out both cases. */
static bool same_pattern(const char *pattern, const char *named)
{
    static const char folded[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
    static const char spelled[] = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
    while (*pattern && *named) {
        if (strncmp(pattern, folded, sizeof folded - 1) == 0 &&
            strncmp(named, spelled, sizeof spelled - 1) == 0) {
            pattern += sizeof folded - 1;
            named += sizeof spelled - 1;
        } else if (*pattern++ != *named++) {
            return false;
        }
    }
    return !*pattern && !*named;
}

/* The patterns that a byte-level pre-tokenizer splits by, one after the other; false where it does
 * something else. */
static bool list_patterns(const pare_pretokenizer *pretokenizer, const char *patterns[6],
                          size_t *count)
{
    *count = 0;
    for (size_t i = 0; i < pretokenizer->count; i++) {
        const pare_split_step *step = &pretokenizer->steps[i];
        bool isolates = step->behavior == PARE_SPLIT_ISOLATED && !step->invert && !step->prepend;
        const char *pattern = step->kind == PARE_SPLIT_NUMBERS ? "\\p{N}" : step->source;
        bool bytes = step->kind == PARE_SPLIT_BYTES;
        if (!isolates || bytes != (i + 1 == pretokenizer->count) || (!pattern && !bytes) ||
            (pattern && *count == 6))
            return false;
        if (pattern)
            patterns[(*count)++] = pattern;
    }
    return pretokenizer->count > 0;
}

static const char *find_pre(const pare_tokenizer *tokenizer)
{
    static const char *const candidates[] = {
        "gpt-2",          "smollm",      "llama-bpe", "dbrx",       "qwen2",
        "tekken",         "gpt-4o",      "qwen35",    "seed-coder", "deepseek-llm",
        "deepseek-coder", "deepseek-v3", "bailingmoe"};
    const char *patterns[6];
    size_t count;
    if (!list_patterns(&tokenizer->pretokenizer, patterns, &count))
        return NULL;
    for (size_t c = 0; c < sizeof candidates / sizeof *candidates; c++) {
        const pare_pre *pre = pare_pre_find(candidates[c], strlen(candidates[c]));
        size_t i = 0;
        while (i < count && pre->patterns[i] && same_pattern(patterns[i], pre->patterns[i]))
            i++;
        if (i == count && (i == 6 || !pre->patterns[i]) &&
            pre->ignore_merges == tokenizer->bpe.ignore_merges)
            return candidates[c];
    }
    return NULL;
}

static bool is_text(const char *text, size_t length, const char *wanted)
{
    return text && length == strlen(wanted) && memcmp(text, wanted, length) == 0;
}

/* Normalizers Prepend "▁" and Replace " " by "▁", or the pre-tokenizer Metaspace. */
static bool is_sentencepiece(const pare_tokenizer *tokenizer, bool *prefix)
{
    bool replaces = false;
    *prefix = false;
    for (size_t i = 0; i < tokenizer->normalizer.count; i++) {
        const pare_normalizer_step *step = &tokenizer->normalizer.steps[i];
        bool to_metaspace = is_text(step->text, step->text_length, metaspace);
        if (step->kind == PARE_NORMALIZE_PREPEND && to_metaspace && i == 0)
            *prefix = true;
        else if (step->kind == PARE_NORMALIZE_REPLACE && to_metaspace &&
                 is_text(step->pattern, step->pattern_length, " "))
            replaces = true;
        else
            return false;
    }
    if (tokenizer->pretokenizer.count == 0)
        return replaces;
    const pare_split_step *step = &tokenizer->pretokenizer.steps[0];
    if (tokenizer->pretokenizer.count > 1 || step->kind != PARE_SPLIT_METASPACE ||
        !is_text(step->string, step->string_length, metaspace))
        return false;
    *prefix |= step->prepend != PARE_PREPEND_NEVER;
    return true;
}

static bool plain_added(const pare_added *added)
{
    for (size_t i = 0; i < added->count; i++) {
        const pare_added_token *token = &added->tokens[i];
        if (token->single_word || token->lstrip || token->rstrip || token->decoded)
            return false;
    }
    return true;
}

/* No tokens around a text, or the one that `id` names. */
static bool plain_frame(const pare_id_list *list, int32_t id)
{
    return list->count == 0 || (list->count == 1 && list->ids[0] == id);
}

static description describe(const pare_tokenizer *tokenizer)
{
    description d = {0};
    d.llama = is_sentencepiece(tokenizer, &d.space_prefix);
    d.pre = d.llama ? "default" : find_pre(tokenizer);
    d.exact = plain_added(&tokenizer->added) && plain_frame(&tokenizer->prefix, tokenizer->bos) &&
              plain_frame(&tokenizer->suffix, tokenizer->eos);
    if (d.llama)
        d.exact &= tokenizer->bpe.byte_fallback && !tokenizer->bpe.ignore_merges;
    else
        d.exact &= d.pre && tokenizer->normalizer.count == 0;
    return d;
}

typedef struct tables {
    pare_gguf_string *tokens, *merges;
    int32_t *types;
    float *scores;
    pare_arena arena;
    size_t count;
} tables;

static void free_tables(tables *t)
{
    free(t->tokens);
    free(t->merges);
    free(t->types);
    free(t->scores);
    pare_arena_free(&t->arena);
}

static int32_t type_of(const pare_tokenizer *tokenizer, int32_t id, bool llama)
{
    const pare_token *token = &tokenizer->vocab.tokens[id];
    if (llama && id == tokenizer->unk)
        return PARE_TOKEN_UNKNOWN;
    if (llama && token->length == 6 && tokenizer->bpe.byte_fallback && token->added < 0)
        for (int byte = 0; byte < 256; byte++)
            if (tokenizer->bpe.bytes[byte] == id)
                return PARE_TOKEN_BYTE;
    return (int32_t)token->type;
}

static pare_status fill_tokens(const pare_tokenizer *tokenizer, bool llama, tables *t)
{
    for (size_t i = 0; i < t->count; i++) {
        const pare_token *token = i < tokenizer->vocab.size ? &tokenizer->vocab.tokens[i] : NULL;
        char name[32];
        t->types[i] =
            token && token->text ? type_of(tokenizer, (int32_t)i, llama) : PARE_TOKEN_UNUSED;
        if (token && token->text) {
            t->tokens[i] = (pare_gguf_string){token->text, token->length};
            continue;
        }
        int length = snprintf(name, sizeof name, "[PAD%zu]", i);
        const char *copy = pare_arena_copy(&t->arena, name, (size_t)length);
        if (!copy)
            return PARE_OUT_OF_MEMORY;
        t->tokens[i] = (pare_gguf_string){copy, (size_t)length};
    }
    return PARE_OK;
}

/* A token's score is minus the rank of the first merge that makes it, so that SentencePiece's rule,
 * the highest score first, is the order of the merges. */
static void fill_scores(const pare_vocab *vocab, tables *t)
{
    for (size_t i = 0; i < t->count; i++)
        t->scores[i] = i < vocab->size && vocab->tokens[i].type == PARE_TOKEN_NORMAL ? -1e9f : 0;
    for (size_t i = 0; vocab->merges && i <= vocab->merge_mask; i++) {
        const pare_merge *merge = &vocab->merges[i];
        if (merge->pair != UINT64_MAX && t->scores[merge->id] < -(float)merge->rank)
            t->scores[merge->id] = -(float)merge->rank;
    }
}

static int by_rank(const void *a, const void *b)
{
    const pare_merge *const *left = a, *const *right = b;
    return ((*left)->rank > (*right)->rank) - ((*left)->rank < (*right)->rank);
}

static pare_status fill_merges(const pare_vocab *vocab, tables *t)
{
    const pare_merge **sorted = NULL;
    size_t n = 0;
    pare_status status;
    PARE_TRY(pare_allocate(vocab->merge_count, sizeof *sorted, "merges", &sorted));
    PARE_TRY(pare_allocate(vocab->merge_count, sizeof *t->merges, "merges", &t->merges));
    for (size_t i = 0; vocab->merges && i <= vocab->merge_mask; i++)
        if (vocab->merges[i].pair != UINT64_MAX)
            sorted[n++] = &vocab->merges[i];
    qsort(sorted, n, sizeof *sorted, by_rank);
    for (size_t i = 0; i < n; i++) {
        const pare_token *left = &vocab->tokens[sorted[i]->pair >> 32];
        const pare_token *right = &vocab->tokens[sorted[i]->pair & UINT32_MAX];
        size_t length = (size_t)left->length + 1 + right->length;
        char *text = pare_arena_allocate(&t->arena, length + 1);
        if (!text) {
            status = PARE_OUT_OF_MEMORY;
            goto fail;
        }
        memcpy(text, left->text, left->length);
        text[left->length] = ' ';
        memcpy(text + left->length + 1, right->text, right->length);
        t->merges[i] = (pare_gguf_string){text, length};
    }
fail:
    free(sorted);
    return status;
}

static pare_status set_tables(const pare_tokenizer *tokenizer, bool llama, tables *t,
                              pare_gguf_writer *writer)
{
    pare_status status;
    PARE_TRY(pare_allocate(t->count, sizeof *t->tokens, "tokens", &t->tokens));
    PARE_TRY(pare_allocate(t->count, sizeof *t->types, "token types", &t->types));
    PARE_TRY(fill_tokens(tokenizer, llama, t));
    pare_gguf_set_strings(writer, "tokenizer.ggml.tokens", t->tokens, t->count);
    if (llama) {
        PARE_TRY(pare_allocate(t->count, sizeof *t->scores, "scores", &t->scores));
        fill_scores(&tokenizer->vocab, t);
        pare_gguf_set_f32s(writer, "tokenizer.ggml.scores", t->scores, t->count);
    }
    pare_gguf_set_i32s(writer, "tokenizer.ggml.token_type", t->types, t->count);
    if (!llama) {
        PARE_TRY(fill_merges(&tokenizer->vocab, t));
        pare_gguf_set_strings(writer, "tokenizer.ggml.merges", t->merges,
                              tokenizer->vocab.merge_count);
    }
fail:
    return status;
}

static void set_id(pare_gguf_writer *writer, const char *key, int32_t id)
{
    if (id >= 0)
        pare_gguf_set_u32(writer, key, (uint32_t)id);
}

static void set_roles(const pare_tokenizer *tokenizer, pare_gguf_writer *writer)
{
    set_id(writer, "tokenizer.ggml.bos_token_id", tokenizer->bos);
    set_id(writer, "tokenizer.ggml.eos_token_id", tokenizer->eos);
    set_id(writer, "tokenizer.ggml.unknown_token_id", tokenizer->unk);
    set_id(writer, "tokenizer.ggml.padding_token_id", tokenizer->pad);
    if (plain_frame(&tokenizer->prefix, tokenizer->bos))
        pare_gguf_set_bool(writer, "tokenizer.ggml.add_bos_token", tokenizer->prefix.count > 0);
    if (plain_frame(&tokenizer->suffix, tokenizer->eos))
        pare_gguf_set_bool(writer, "tokenizer.ggml.add_eos_token", tokenizer->suffix.count > 0);
    if (tokenizer->chat_template)
        pare_gguf_set_text(writer, "tokenizer.chat_template", tokenizer->chat_template,
                           strlen(tokenizer->chat_template));
}

/* The whole tokenizer.json, without its white space. */
static pare_status set_json(const pare_tokenizer *tokenizer, pare_gguf_writer *writer)
{
    json_t *json;
    pare_status status = pare_json_load_file(tokenizer->file, PARE_JSON_LIMIT, &json);
    if (status != PARE_OK)
        return pare_fail_in(PARE_UNSUPPORTED,
                            "GGUF cannot hold this tokenizer without its tokenizer.json");
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    if (!text)
        return pare_fail_memory(0, "tokenizer.json");
    pare_gguf_set_text(writer, "tokenizer.huggingface.json", text, strlen(text));
    free(text);
    return PARE_OK;
}

pare_status pare_tokenizer_export(const pare_tokenizer *tokenizer, int64_t vocab_size,
                                  pare_gguf_writer *writer)
{
    if (tokenizer->from_gguf)
        return copy_values(&tokenizer->gguf, writer);
    description d = describe(tokenizer);
    tables t = {.count = tokenizer->vocab.size};
    if (vocab_size > (int64_t)t.count && vocab_size <= PARE_VOCAB_LIMIT)
        t.count = (size_t)vocab_size;
    pare_gguf_set_text(writer, "tokenizer.ggml.model", d.llama ? "llama" : "gpt2", d.llama ? 5 : 4);
    if (d.pre)
        pare_gguf_set_text(writer, "tokenizer.ggml.pre", d.pre, strlen(d.pre));
    pare_status status = set_tables(tokenizer, d.llama, &t, writer);
    if (d.llama)
        pare_gguf_set_bool(writer, "tokenizer.ggml.add_space_prefix", d.space_prefix);
    set_roles(tokenizer, writer);
    if (status == PARE_OK && !d.exact)
        status = set_json(tokenizer, writer);
    free_tables(&t);
    return status;
}
