/* All files of a report. */
#include "base/fail.h"
#include "base/file.h"
#include "report/charts.h"
#include "report/documents.h"

#include <errno.h>
#include <pare/report.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static pare_status make_folder(const char *path)
{
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return pare_fail(PARE_IO, "%s: %s", path, strerror(errno));
    if (!pare_is_folder(path))
        return pare_fail(PARE_IO, "%s: is no folder", path);
    return PARE_OK;
}

static pare_status write_file(const char *folder, const char *name, const pare_buffer *content)
{
    pare_output output = {0};
    char *path = NULL;
    pare_status status;
    if (content->failed)
        return pare_fail_memory(content->size, name);
    PARE_TRY(pare_path_join(folder, name, &path));
    PARE_TRY(pare_output_open(&output, path));
    PARE_TRY(pare_output_write(&output, content->data, content->size));
    PARE_TRY(pare_output_commit(&output));
fail:
    pare_output_abort(&output);
    free(path);
    return status;
}

static pare_status write_figure(const pare_chart *chart, pare_view *view, const char *folder)
{
    static const char *const endings[] = {"png", "svg", "pdf"};
    static const pare_file_kind kinds[] = {PARE_FILE_PNG, PARE_FILE_SVG, PARE_FILE_PDF};
    pare_status status = PARE_OK;
    for (int i = 0; i < 3 && status == PARE_OK; i++) {
        pare_buffer content = {0};
        char name[96];
        snprintf(name, sizeof name, "%s.%s", chart->name, endings[i]);
        status = pare_chart_file(chart, view, kinds[i], &content, NULL);
        if (status == PARE_OK)
            status = write_file(folder, name, &content);
        pare_buffer_free(&content);
    }
    return status;
}

static pare_status step(const pare_progress *progress, double done, const char *what)
{
    if (progress && !progress->update(progress->user, done, 1, what))
        return pare_fail(PARE_CANCELLED, "the report was stopped");
    return PARE_OK;
}

static pare_status write_figures(pare_view *view, const char *folder, const pare_progress *progress)
{
    char reason[400], *figures = NULL;
    pare_status status;
    PARE_TRY(pare_path_join(folder, "figures", &figures));
    PARE_TRY(make_folder(figures));
    for (int i = 0; i < pare_chart_count; i++) {
        PARE_TRY(step(progress, 0.6 * i / pare_chart_count, pare_charts[i].name));
        if (!pare_chart_missing(&pare_charts[i], view, reason, sizeof reason))
            PARE_TRY(write_figure(&pare_charts[i], view, figures));
    }
fail:
    free(figures);
    return status;
}

typedef struct document {
    const char *name;
    pare_status (*make)(pare_view *view, pare_buffer *out);
} document;

static const document documents[] = {
    {"index.html", pare_document_page},
    {"slides.pdf", pare_document_slides},
    {"results.csv", pare_document_csv},
    {"results.json", pare_document_json},
};

pare_status pare_report_write(const pare_study *study, pare_store *store, const char *folder,
                              const pare_progress *progress)
{
    pare_view view = {0};
    pare_status status;
    PARE_TRY(pare_view_make(study, store, &view));
    PARE_TRY(make_folder(folder));
    PARE_TRY(write_figures(&view, folder, progress));
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        pare_buffer content = {0};
        status = step(progress, 0.6 + 0.1 * (double)i, documents[i].name);
        if (status == PARE_OK)
            status = documents[i].make(&view, &content);
        if (status == PARE_OK)
            status = write_file(folder, documents[i].name, &content);
        pare_buffer_free(&content);
        PARE_TRY(status);
    }
fail:
    pare_view_free(&view);
    return status;
}
