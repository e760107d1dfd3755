#include "text/added.h"

#include "base/memory.h"
#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

typedef struct pare_added_node {
    uint8_t byte;
    int32_t child, sibling; /* nodes; 0: none */
    int32_t token;          /* index into tokens, or -1 */
} node;

pare_status pare_added_add(pare_added *added, const pare_added_token *token)
{
    pare_status status = pare_grow(&added->tokens, &added->capacity, added->count + 1,
                                   sizeof *added->tokens, "added tokens");
    char *content;
    if (status == PARE_OK)
        status = pare_allocate(token->length + 1, 1, "an added token", &content);
    if (status != PARE_OK)
        return status;
    memcpy(content, token->content, token->length);
    added->tokens[added->count] = *token;
    added->tokens[added->count++].content = content;
    return PARE_OK;
}

static pare_status add_node(pare_added_tree *tree, uint8_t byte, int32_t sibling, int32_t *index)
{
    size_t count = tree->count ? tree->count : 1; /* node 0 stands for none */
    pare_status status =
        pare_grow(&tree->nodes, &tree->capacity, count + 1, sizeof *tree->nodes, "added tokens");
    if (status != PARE_OK)
        return status;
    tree->nodes[count] = (node){byte, 0, sibling, -1};
    tree->count = count + 1;
    *index = (int32_t)count;
    return PARE_OK;
}

static int32_t find_child(const pare_added_tree *tree, int32_t parent, uint8_t byte)
{
    int32_t child = parent ? tree->nodes[parent].child : tree->roots[byte];
    while (child && tree->nodes[child].byte != byte)
        child = tree->nodes[child].sibling;
    return child;
}

pare_status pare_added_index(pare_added *added, size_t index, const char *pattern, size_t length)
{
    pare_added_tree *tree = added->tokens[index].normalized ? &added->normalized : &added->raw;
    int32_t at = 0;
    for (size_t i = 0; i < length; i++) {
        uint8_t byte = (uint8_t)pattern[i];
        int32_t child = find_child(tree, at, byte);
        if (!child) {
            pare_status status = add_node(tree, byte, at ? tree->nodes[at].child : 0, &child);
            if (status != PARE_OK)
                return status;
            *(at ? &tree->nodes[at].child : &tree->roots[byte]) = child;
        }
        at = child;
    }
    if (at)
        tree->nodes[at].token = (int32_t)index;
    return PARE_OK;
}

void pare_added_free(pare_added *added)
{
    for (size_t i = 0; i < added->count; i++) {
        free(added->tokens[i].content);
        free(added->tokens[i].decoded);
    }
    free(added->tokens);
    free(added->raw.nodes);
    free(added->normalized.nodes);
    *added = (pare_added){0};
}

/* The longest token at `at`, or NULL. */
static const pare_added_token *longest(const pare_added *added, const pare_added_tree *tree,
                                       const char *text, size_t size, size_t at, size_t *end)
{
    const pare_added_token *best = NULL;
    int32_t from = 0;
    for (size_t i = at; i < size; i++) {
        from = find_child(tree, from, (uint8_t)text[i]);
        if (!from)
            break;
        if (tree->nodes[from].token >= 0) {
            best = &added->tokens[tree->nodes[from].token];
            *end = i + 1;
        }
    }
    return best;
}

static bool touches_word(const char *text, size_t size, size_t start, size_t end)
{
    size_t length;
    return (start > 0 &&
            pare_is_word(pare_utf8_decode(text + pare_utf8_previous(text, start), &length))) ||
           (end < size && pare_is_word(pare_utf8_decode(text + end, &length)));
}

static size_t space_before(const char *text, size_t start)
{
    size_t length;
    while (start > 0) {
        size_t previous = pare_utf8_previous(text, start);
        if (!pare_is_space(pare_utf8_decode(text + previous, &length)))
            break;
        start = previous;
    }
    return start;
}

static size_t space_after(const char *text, size_t size, size_t end)
{
    size_t length;
    while (end < size && pare_is_space(pare_utf8_decode(text + end, &length)))
        end += length;
    return end;
}

pare_status pare_added_split(const pare_added *added, const pare_added_tree *tree, const char *text,
                             size_t size, size_t base, bool plain_special, bool first,
                             pare_pieces *pieces)
{
    size_t from = 0, end, next;
    pare_status status = PARE_OK;
    for (size_t at = 0; tree->count && at < size && status == PARE_OK; at = next) {
        next = at + 1;
        const pare_added_token *token =
            tree->roots[(uint8_t)text[at]] ? longest(added, tree, text, size, at, &end) : NULL;
        if (!token)
            continue;
        next = end;
        if ((plain_special && token->special) ||
            (token->single_word && touches_word(text, size, at, end)))
            continue;
        size_t start = at, stop = token->rstrip ? space_after(text, size, end) : end;
        if (token->lstrip) {
            start = space_before(text, at);
            start = start > from ? start : from; /* what the token before took is gone */
        }
        if (from < start)
            status = pare_pieces_add(pieces, base + from, start - from, -1, first && from == 0);
        if (status == PARE_OK && start < stop)
            status = pare_pieces_add(pieces, 0, 0, token->id, false);
        from = stop;
    }
    if (status == PARE_OK && from < size)
        status = pare_pieces_add(pieces, base + from, size - from, -1, first && from == 0);
    return status;
}
