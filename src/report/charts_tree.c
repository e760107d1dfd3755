/* The tree of decisions, from left to right. */
#include "report/charts.h"
#include "report/plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct layout {
    pare_canvas *canvas;
    pare_view *view;
    const pare_tree *tree;
    pare_box box;
    double column, row; /* steps */
    int leaves_done;
} layout;

static int depth_of(const pare_tree *tree, int node)
{
    const pare_tree_node *n = &tree->nodes[node];
    if (n->left < 0)
        return 1;
    int left = depth_of(tree, n->left), right = depth_of(tree, n->right);
    return 1 + (left > right ? left : right);
}

static int leaves_of(const pare_tree *tree, int node)
{
    const pare_tree_node *n = &tree->nodes[node];
    return n->left < 0 ? 1 : leaves_of(tree, n->left) + leaves_of(tree, n->right);
}

static int choice_of(const pare_view *view, const char *answer)
{
    for (int c = 0; c < view->choices; c++)
        if (answer && (strcmp(view->choice[c].label, answer) == 0 ||
                       strcmp(view->choice[c].recipe, answer) == 0))
            return c;
    return -1;
}

static void card(layout *l, pare_box b, const pare_tree_node *n)
{
    char text[300];
    bool leaf = n->left < 0;
    int choice = leaf ? choice_of(l->view, n->answer) : -1;
    pare_canvas_fill(l->canvas, b, PARE_INK_PANEL);
    pare_canvas_fill(l->canvas, (pare_box){b.x, b.y, 5, b.h},
                     choice >= 0 ? pare_series_ink(choice)
                     : leaf      ? PARE_INK_AXIS
                                 : PARE_INK_TEXT);
    if (leaf)
        snprintf(text, sizeof text, "%s\n%d of %d situations", n->answer, n->right_cases, n->cases);
    else
        snprintf(text, sizeof text, "%c%s",
                 n->question[0] >= 'a' && n->question[0] <= 'z' ? n->question[0] - 32
                                                                : n->question[0],
                 n->question + 1);
    const pare_text style = {
        .size = 10, .bold = leaf, .ink = PARE_INK_TEXT, .wrap = b.w - 14, .lines = 4, .down = 0.5};
    pare_text_draw(l->canvas, b.x + 10, b.y + b.h / 2, &style, text);
    pare_canvas_hot(l->canvas, b, "%s: %d situations of %d settings", text, n->cases, n->settings);
}

static void edge(layout *l, pare_box from, pare_box to, bool yes)
{
    cairo_t *cr = l->canvas->cr;
    double x0 = from.x + from.w, y0 = from.y + from.h / 2, x1 = to.x, y1 = to.y + to.h / 2;
    pare_canvas_ink(l->canvas, PARE_INK_AXIS);
    cairo_set_line_width(cr, 1.2);
    cairo_move_to(cr, x0, y0);
    cairo_curve_to(cr, (x0 + x1) / 2, y0, (x0 + x1) / 2, y1, x1, y1);
    cairo_stroke(cr);
    const pare_text style = {.size = 10, .ink = PARE_INK_SOFT, .across = 1, .down = yes ? 1 : 0};
    pare_text_draw(l->canvas, x1 - 4, yes ? y1 - 2 : y1 + 2, &style, yes ? "yes" : "no");
}

/* Draws the node after its children, whose middle it takes; returns its box. */
static pare_box draw_node(layout *l, int node, int depth)
{
    const pare_tree_node *n = &l->tree->nodes[node];
    const double gap = 46;
    pare_box b = {.x = l->box.x + l->column * depth, .w = l->column - gap};
    b.h = fmin(l->row - 8, 54);
    if (n->left < 0) {
        b.y = l->box.y + l->row * (l->leaves_done++ + 0.5) - b.h / 2;
    } else {
        pare_box yes = draw_node(l, n->left, depth + 1), no = draw_node(l, n->right, depth + 1);
        b.y = (yes.y + no.y) / 2;
        edge(l, b, yes, true);
        edge(l, b, no, false);
    }
    card(l, b, n);
    return b;
}

void pare_draw_tree(pare_canvas *canvas, pare_view *view)
{
    pare_box box = pare_chart_begin_all(canvas, view, "Decision tree");
    layout l = {.canvas = canvas, .view = view, .tree = view->tree, .box = box};
    int leaves = leaves_of(view->tree, 0);
    l.column = (box.w + 46) / fmax(2, depth_of(view->tree, 0));
    l.column = fmin(l.column, 320);
    l.row = fmin(box.h / leaves, 90);
    draw_node(&l, 0, 0);
}
