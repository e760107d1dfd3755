/* Added tokens: found in the text before it is split, as the tokenizers library finds them. */
#ifndef PARE_TEXT_ADDED_H
#define PARE_TEXT_ADDED_H

#include "base/buffer.h"
#include "text/pieces.h"

typedef struct pare_added_token {
    int32_t id;
    char *content; /* as in the file */
    size_t length;
    bool single_word;    /* only where no word character touches it */
    bool lstrip, rstrip; /* takes the white space on that side along */
    bool normalized;     /* found in the normalized text, as its own normal form */
    bool special;
    char *decoded; /* what it decodes to where that is not `content` */
    bool skipped;  /* left out of decoded text where special tokens are */
} pare_added_token;

/* Which tokens begin at a place: a tree by bytes. Starts as {0}. */
typedef struct pare_added_tree {
    struct pare_added_node *nodes;
    size_t count, capacity;
    int32_t roots[256]; /* nodes of the first bytes; 0: none */
} pare_added_tree;

typedef struct pare_added {
    pare_added_token *tokens;
    size_t count, capacity;
    pare_added_tree raw, normalized;
} pare_added;

pare_status pare_added_add(pare_added *added,
                           const pare_added_token *token); /* content is copied */
/* The pattern that finds token `index`: its content or its normal form. The last one given for a
 * pattern counts. */
pare_status pare_added_index(pare_added *added, size_t index, const char *pattern, size_t length);
void pare_added_free(pare_added *added);

/* Splits text[0 .. size-1] by the tokens of one tree: the leftmost match, the longest of those.
 * Special tokens are passed over where `plain_special`. Appends pieces whose offsets are base +
 * (place in text). */
pare_status pare_added_split(const pare_added *added, const pare_added_tree *tree, const char *text,
                             size_t size, size_t base, bool plain_special, bool first,
                             pare_pieces *pieces);

#endif
