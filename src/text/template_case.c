/* Upper and lower case and the kinds of characters, by Unicode's tables in utf8proc. Mappings are
 * one character to one, except for the sharp s. */
#include "text/template_eval.h"

#include <utf8proc.h>

enum { SHARP_S = 0xdf };

static bool is_cased(int32_t code)
{
    utf8proc_category_t category = utf8proc_category(code);
    return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
           category == UTF8PROC_CATEGORY_LT;
}

static void put_upper(tpl *t, pare_buffer *buffer, int32_t code, bool title)
{
    char bytes[4];
    if (code == SHARP_S) {
        tpl_put_text(t, buffer, title ? "Ss" : "SS");
        return;
    }
    code = title ? utf8proc_totitle(code) : utf8proc_toupper(code);
    tpl_put(t, buffer, bytes, tpl_encode(code, bytes));
}

static void put_lower(tpl *t, pare_buffer *buffer, int32_t code)
{
    char bytes[4];
    code = utf8proc_tolower(code);
    tpl_put(t, buffer, bytes, tpl_encode(code, bytes));
}

tpl_value tpl_change_case(tpl *t, const tpl_string *string, tpl_case wanted)
{
    pare_buffer buffer = {0};
    const char *cursor = string->data, *end = cursor + string->length;
    bool first = true, after_cased = false;
    tpl_charge(t, string->length / 16);
    while (cursor < end && !tpl_failed(t)) {
        int32_t code = tpl_decode(&cursor, end);
        bool cased = is_cased(code);
        bool upper = wanted == TPL_UPPER || (wanted == TPL_TITLE && !after_cased) ||
                     (wanted == TPL_CAPITALIZE && first) ||
                     (wanted == TPL_SWAP && utf8proc_category(code) == UTF8PROC_CATEGORY_LL);
        if (upper)
            put_upper(t, &buffer, code, wanted == TPL_TITLE || wanted == TPL_CAPITALIZE);
        else
            put_lower(t, &buffer, code);
        after_cased = cased;
        first = false;
    }
    tpl_value text = tpl_take(t, &buffer);
    if (text.type == TPL_STRING)
        ((tpl_string *)text.string)->safe = string->safe;
    return text;
}

bool tpl_has_case(const tpl_string *string, tpl_case wanted)
{
    const char *cursor = string->data, *end = cursor + string->length;
    bool any = false;
    while (cursor < end) {
        int32_t code = tpl_decode(&cursor, end);
        if (!is_cased(code))
            continue;
        if (utf8proc_category(code) !=
            (wanted == TPL_LOWER ? UTF8PROC_CATEGORY_LL : UTF8PROC_CATEGORY_LU))
            return false;
        any = true;
    }
    return any;
}
