#include "report/html.h"

void pare_html_escape(pare_buffer *out, const char *text)
{
    for (; text && *text; text++) {
        const char *entity = *text == '<'   ? "&lt;"
                             : *text == '>' ? "&gt;"
                             : *text == '&' ? "&amp;"
                             : *text == '"' ? "&quot;"
                                            : NULL;
        if (entity)
            pare_buffer_text(out, entity);
        else
            pare_buffer_append(out, text, 1);
    }
}
