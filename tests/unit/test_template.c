/* Templates as Jinja2 renders them: each expected text was checked against Jinja2 3.1 with
 * transformers' settings. */
#include "base/json.h"
#include "text/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define CONTEXT                                                                                    \
    "{\"n\": 3, \"f\": 2.5, \"s\": \"Hello World\", \"e\": \"\", \"none_\": null, \"yes\": true,"  \
    " \"u\": \"\\u00dcn\\u00ef \\u65e5\\u672c \\ud83e\\udd17\", \"l\": [3, 1, 2], \"words\": "     \
    "[\"b\", \"A\", \"c\", \"a\"],"                                                                \
    " \"d\": {\"x\": 1, \"y\": \"two\", \"items\": 5}, \"rows\": [{\"n\": \"B\", \"v\": 2}, "      \
    "{\"n\": \"a\", \"v\": 1},"                                                                    \
    " {\"n\": \"b\", \"v\": 2}], \"messages\": [{\"role\": \"user\", \"content\": \"Hi\"},"        \
    " {\"role\": \"assistant\", \"content\": \"Yo\"}], \"tools\": null}"

typedef struct example {
    const char *source, *text;
} example;

static char *render(const char *source, pare_status expected)
{
    json_error_t error;
    json_t *variables = json_loads(CONTEXT, 0, &error);
    char *text;
    assert_non_null(variables);
    pare_status status = pare_template_render(source, "test", variables, &text);
    if (status != expected)
        print_error("%s\n  %s: %s\n", source, pare_status_name(status), pare_error_message());
    assert_int_equal(status, expected);
    assert_true((text != NULL) == (status == PARE_OK));
    json_decref(variables);
    return text;
}

static void check(const example *examples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *text = render(examples[i].source, PARE_OK);
        if (strcmp(text, examples[i].text) != 0)
            print_error("%s\n", examples[i].source);
        assert_string_equal(text, examples[i].text);
        free(text);
    }
}
#define CHECK(examples) check(examples, sizeof examples / sizeof *examples)

static void whitespace(void **state)
{
    static const example examples[] = {
        {"a\n", "a"},
        {"a\n\n", "a\n"},
        {"  {% if yes %}\n  x\n  {% endif %}\ny", "  x\ny"},
        {"x  {%- if yes -%}  y  {%- endif %} z", "xy z"},
        {"  {%+ if yes %}x{% endif %}\n", "  x"},
        {"{{ n }}\n{{ n }}", "3\n3"},
        {"{{- n -}}  \n x", "3x"},
        {"a {{- ' ' -}} b", "a b"},
        {"{# c #}\nx", "x"},
        {"  {# c #}\nx", "x"},
        {"a\n  {#- c -#}\n b", "ab"},
        {"{#+ c +#}\nx", "\nx"},
        {"{% raw %}\n{{ x }}{% endraw %}\ny", "\n{{ x }}y"},
        {"  {%- raw -%}  {% y %}  {%- endraw -%}  z", "{% y %}z"},
        {"a\r\nb\rc", "a\nb\nc"},
        {"{% if yes +%}\nx{% endif %}", "\nx"},
        {"\t{% set q = 1 %}\t\n{{ q }}", "\t\n1"},
        {"{{ '}}' }}{{ '%}' }}{{ {'a': {'b': 1}} }}", "}}%}{'a': {'b': 1}}"},
        {"{ {x} } {", "{ {x} } {"},
        {"", ""},
        {"x{{ 1\n+\n1 }}y", "x2y"},
    };
    CHECK(examples);
}

static void statements(void **state)
{
    static const example examples[] = {
        {"{% for m in messages %}{{ loop.index }}:{{ m.role }}{{ ', ' if not loop.last }}{% endfor "
         "%}",
         "1:user, 2:assistant"},
        {"{% for x in [] %}x{% else %}empty{% endfor %}", "empty"},
        {"{% for x in l if x > 1 %}{{ loop.index0 }}{{ x }}/{{ loop.length }}{{ loop.revindex }}{% "
         "endfor %}",
         "03/2212/21"},
        {"{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "x=1;y=two;items=5;"},
        {"{% for a, (b, c) in [(1, (2, 3))] %}{{ a + b + c }}{% endfor %}", "6"},
        {"{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% if x == 2 %}{% break "
         "%}{% endif %}{% endfor %}",
         "32"},
        {"{% for x in l %}{{ loop.previtem|default('-') }}{{ x }}{{ loop.nextitem|default('-') "
         "}}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }} {% endfor %}",
         "-31aTrue 312bTrue 12-aTrue "},
        {"{% set x = 1 %}{% for i in l %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}", "4231"},
        {"{% set ns = namespace(t=0) %}{% for i in l %}{% set ns.t = ns.t + i %}{% endfor %}{{ "
         "ns.t }}",
         "6"},
        {"{% set a, b = 1, 'z' %}{{ b ~ a }}", "z1"},
        {"{% set ns = namespace() %}{% set ns.a, q = 1, 2 %}{{ ns.a + q }}", "3"},
        {"{% set t %}<{{ n }}>{% endset %}{{ t|length }}{{ t }}", "3<3>"},
        {"{% set t | upper | trim %} a{{ s }} {% endset %}[{{ t }}]", "[AHELLO WORLD]"},
        {"{% if n > 5 %}a{% elif n > 2 %}b{% else %}c{% endif %}", "b"},
        {"{% if n > 5 %}a{% elif n > 4 %}b{% else %}{% if yes %}c{% endif %}{% endif %}", "c"},
        {"{% macro m(a, b=a, c='z') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}|{{ m(1, c=3) "
         "}}|{{ m(b=2, a=1) }}|{{ m() }}",
         "11z|113|12z|z"},
        {"{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, x=2) }}", "(1,){'x': 2}"},
        {"{% macro m(x) %}<{{ caller(x) }}>{% endmacro %}{% call(y) m(4) %}{{ y }}{{ n }}{% "
         "endcall %}",
         "<43>"},
        {"{% macro m() %}{% set n = 9 %}{{ n }}{% endmacro %}{{ m() }}{{ n }}", "93"},
        {"{% macro f(x) %}{% if x > 0 %}{{ x }}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
         "321"},
        {"{% filter upper|replace('E', '3') %}he{% set n = 8 %}y{% endfilter %}{{ n }}", "H3Y3"},
        {"{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}", "13"},
        {"{% generation %}{{ s }}{% endgeneration %}", "Hello World"},
        {"{% print n %}", "3"},
        {"{% for g in rows|groupby('n') %}{{ g.grouper }}{{ g.list|length }}{% endfor %}", "a1B2"},
        {"{% set j = joiner('; ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}", "3; 1; 2"},
        {"{% set ns = namespace(done=false) %}{% for x in l if not ns.done %}{{ x }}{% set ns.done "
         "= true %}{% endfor %}",
         "3"},
        {"{% set tools = tools or [] %}{{ tools }}", "[]"},
        {"{% set g = l|select('gt', 1) %}{{ g|list }}{{ g|list }}", "[3, 2][]"},
        {"{% for c in 'añ' %}[{{ c }}]{% endfor %}", "[a][ñ]"},
        {"{% for x in d %}{{ x }}{% endfor %}", "xyitems"},
        {"{% for x in undef %}{{ x }}{% else %}-{% endfor %}", "-"},
    };
    CHECK(examples);
}

static void expressions(void **state)
{
    static const example examples[] = {
        {"{{ none_ }} {{ yes }} {{ undef }} {{ l }} {{ d }}",
         "None True  [3, 1, 2] {'x': 1, 'y': 'two', 'items': 5}"},
        {"{{ 1, 'a' }} {{ (1,) }} {{ () }} {{ [] }} {{ {} }}", "(1, 'a') (1,) () [] {}"},
        {"{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 2 ** "
         "-1 }}",
         "3 -4 2 -2 3.5 1024 0.5"},
        {"{{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 1e16 }} {{ 1e15 }} {{ 0.1 + 0.2 }} {{ 1e-5 }} {{ 100.0 "
         "}} {{ 1e300 * 1e10 }} {{ -0.0 }}",
         "3.0 0.5 1e+16 1000000000000000.0 0.30000000000000004 1e-05 100.0 inf -0.0"},
        {"{{ -2 ** 2 }} {{ 2 ** 3 ** 2 }} {{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ -n|abs }} {{ +yes "
         "}} {{ not n == 3 }}",
         "4 64 7 9 3 1 False"},
        {"{{ 'a' ~ 1 ~ none_ ~ undef }} {{ 'a' + 'b' * 3 }} {{ [1] + [2] * 2 }} {{ 2 * (1,) }}",
         "a1None abbb [1, 2, 2] (1, 1)"},
        {"{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 1 == 1.0 }} {{ "
         "yes == 1 }} {{ '1' == 1 }}",
         "True False True True True True False"},
        {"{{ 1 in l }} {{ 9 not in l }} {{ 'ell' in s }} {{ 'x' in d }} {{ 'two' in d }} {{ 1 in "
         "undef }} {{ (1) in range(3) }}",
         "True True True True False False True"},
        {"{{ n and e }} {{ e or 'x' }} {{ none_ or e or 0 }} {{ not e }} {{ yes and not none_ }}",
         " x 0 True True"},
        {"{{ 'a' if n == 3 else 'b' }} {{ 'a' if n == 4 }}| {{ 1 if 0 else 2 if 0 else 3 }}",
         "a | 3"},
        {"{{ l[0] }} {{ l[-1] }} {{ l[9] }}| {{ s[1] }} {{ s[-1] }} {{ d['x'] }} {{ d.y }} {{ d.q "
         "}}| {{ rows[1].n }} {{ rows.1.n }} {{ rows[0]['v'] }}",
         "3 2 | e d 1 two | a a 2"},
        {"{{ l[1:] }} {{ l[:-1] }} {{ l[::-1] }} {{ s[::2] }} {{ s[-3:] }} {{ u[:4] }} {{ u[::-1] "
         "}} {{ l[5:] }} {{ (1, 2, 3)[1:] }} {{ s[8:2:-2] }}",
         "[1, 2] [3, 1] [2, 1, 3] HloWrd rld Ünï  🤗 本日 ïnÜ [] (2, 3) rWo"},
        {"{{ range(5)|list }} {{ range(2, 8, 3)|list }} {{ range(3, 0, -1)|list }} {{ range(3) }} "
         "{{ range(9)[2:4] }}",
         "[0, 1, 2, 3, 4] [2, 5] [3, 2, 1] range(0, 3) range(2, 4)"},
        {"{{ dict(a=1, b=2) }} {{ dict([('x', 1)]) }} {{ dict(d, x=7) }} {{ namespace(a=1).a }} {{ "
         "namespace(a=1) }}",
         "{'a': 1, 'b': 2} {'x': 1} {'x': 7, 'y': 'two', 'items': 5} 1 <Namespace {'a': 1}>"},
        {"{{ {'a': 1, 2: 'b', 1.5: none, true: []} }} {{ {1: 'a', true: 'b'} }}",
         "{'a': 1, 2: 'b', 1.5: None, True: []} {1: 'b'}"},
        {"{{ 0x1f }} {{ 0b11 }} {{ 0o17 }} {{ 1_000 }} {{ 1.5e3 }} {{ 2E-2 }}",
         "31 3 15 1000 1500.0 0.02"},
        {"{{ d['items'] }}|{{ d.items() }} {{ d.keys()|list }} {{ d.values() }} {{ d.get('x') }} "
         "{{ d.get('q', 4) }} {{ d.get('q') }}",
         "5|dict_items([('x', 1), ('y', 'two'), ('items', 5)]) ['x', 'y', 'items'] dict_values([1, "
         "'two', 5]) 1 4 None"},
        {"{{ l.index(1) }} {{ l.count(3) }} {{ l.copy() }}", "1 1 [3, 1, 2]"},
        {"{{ l.append }}|{{ s.__class__ }}|", "||"},
        {"{{ undef == undef2 }} {{ undef|length }} {{ undef is defined }}", "True 0 False"},
        {"{{ \"it's\" }} {{ [\"it's\", 'q\"', 'a\\n\\t\\\\', '\\x01é'] }} {{ ['​日本'] }}",
         "it's [\"it's\", 'q\"', 'a\\n\\t\\\\', '\\x01é'] ['\\u200b日本']"},
        {"{{ 'a' 'b' \"c\" }} {{ '\\u00e9\\x41\\101\\q' }}", "abc éAA\\q"},
        {"{{ [yes, none_, 1.0, 'x'] }}", "[True, None, 1.0, 'x']"},
        {"{{ messages == [{'role': 'user', 'content': 'Hi'}, {'content': 'Yo', 'role': "
         "'assistant'}] }}",
         "True"},
        {"{{ namespace(a=1) == namespace(a=1) }}", "False"},
        {"{{ [1,2,] }} {{ {'a': 1,} }}", "[1, 2] {'a': 1}"},
    };
    CHECK(examples);
}

static void strings(void **state)
{
    static const example examples[] = {
        {"{{ s.upper() }} {{ s.lower() }} {{ s.swapcase() }} {{ 'hello wORLD-x it\\'s'.title() }} "
         "{{ 'hELLO w'.capitalize() }} {{ 'straße éa'.upper() }}",
         "HELLO WORLD hello world hELLO wORLD Hello World-X It'S Hello w STRASSE ÉA"},
        {"[{{ '  a b '.strip() }}] [{{ '  a '.lstrip() }}] [{{ '  a '.rstrip() }}] {{ "
         "'xxaxx'.strip('x') }} {{ 'abcba'.lstrip('ab') }} [{{ '　a '.strip() }}]",
         "[a b] [a ] [  a] a cba [a]"},
        {"{{ 'a b  c'.split() }} {{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ "
         "'a,b,c'.rsplit(',', 1) }} {{ ' a b c '.split(none, 1) }} {{ ' a b c '.rsplit(none, 1) }} "
         "{{ ''.split() }} {{ ''.split(',') }}",
         "['a', 'b', 'c'] ['a', 'b', '', 'c'] ['a', 'b,c'] ['a,b', 'c'] ['a', 'b c '] [' a b', "
         "'c'] [] ['']"},
        {"{{ 'a</think>b</think>c'.split('</think>')[-1] }} {{ 'a\\nb\\r\\nc\\n'.splitlines() }} "
         "{{ 'a\\n\\nb'.splitlines(true) }}",
         "c ['a', 'b', 'c'] ['a\\n', '\\n', 'b']"},
        {"{{ s.startswith('Hell') }} {{ s.endswith(('x', 'ld')) }} {{ s.startswith('World', 6) }} "
         "{{ s.endswith('o', 0, 5) }}",
         "True True True True"},
        {"{{ 'aaa'.replace('a', 'b', 2) }} {{ 'ab'.replace('', '-') }} {{ 'aXbX'.replace('X', '') "
         "}}",
         "bba -a-b- ab"},
        {"{{ s.find('o') }} {{ s.find('o', 5) }} {{ s.rfind('o') }} {{ s.find('z') }} {{ "
         "s.index('W') }} {{ u.find('本') }} {{ s.count('l') }} {{ s.count('l', 4) }} {{ "
         "'abc'.count('') }}",
         "4 7 7 -1 6 5 3 1 4"},
        {"{{ ', '.join(words) }} {{ '-'.join('abc') }}", "b, A, c, a a-b-c"},
        {"{{ '12'.isdigit() }} {{ '1.2'.isdigit() }} {{ ''.isdigit() }} {{ 'ab'.isalpha() }} {{ "
         "'a1'.isalnum() }} {{ ' '.isspace() }} {{ 'ab1'.islower() }} {{ 'AB'.isupper() }} {{ "
         "'½'.isnumeric() }} {{ '²'.isdecimal() }}",
         "True False False True True True True True True False"},
        {"{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('x') }}",
         "('a', '=', 'b=c') ('a=b', '=', 'c') ('abc', '', '')"},
        {"{{ 'abc'.removeprefix('a') }} {{ 'abc'.removesuffix('bc') }} {{ '-4'.zfill(5) }} {{ "
         "'ab'.center(5, '*') }} {{ 'abc'.center(6) }}| {{ 'a'.ljust(3) }}| {{ 'a'.rjust(3, '.') "
         "}}",
         "bc a -0004 **ab*  abc  | a  | ..a"},
        {"{{ '%s is %d years, %.2f%% %r' % ('Bo', 5.9, 12.345, 'x') }} {{ '%(a)s' % {'a': 1} }} {{ "
         "'%05d|%-5s|%5s|%x|%X|%o|%e' % (-42, 'a', 'b', 255, 255, 8, 12345.678) }} {{ '%s' % s }}",
         "Bo is 5 years, 12.35% 'x' 1 -0042|a    |    b|ff|FF|10|1.234568e+04 Hello World"},
        {"{{ '{} {}'.format(1, 'a') }} {{ '{1}{0}{x}'.format(1, 2, x=3) }} {{ "
         "'{{}}{!r}'.format('q') }} {{ "
         "'{:>5}|{:<5}|{:^5}|{:05d}|{:.2f}|{:,}|{:x}|{:%}'.format('a', 'b', 'c', 42, 3.14159, "
         "1234567, 255, 0.5) }}",
         "1 a 213 {}'q'     a|b    |  c  |00042|3.14|1,234,567|ff|50.000000%"},
    };
    CHECK(examples);
}

static void filters(void **state)
{
    static const example examples[] = {
        {"[{{ '  a '|trim }}] {{ 'xax'|trim('x') }} {{ none_|trim }}", "[a] a None"},
        {"{{ l|length }} {{ s|count }} {{ d|length }} {{ undef|length }}", "3 11 3 0"},
        {"{{ l|join(', ') }} {{ l|join }} {{ rows|join('-', attribute='n') }} {{ words|join(none_) "
         "}}",
         "3, 1, 2 312 B-a-b bNoneANonecNonea"},
        {"{{ s|upper }} {{ s|lower }} {{ 'a-b (c) d\\'e'|title }} {{ 'aB'|capitalize }} {{ 5|upper "
         "}}",
         "HELLO WORLD hello world A-B (C) D'e Ab 5"},
        {"{{ undef|default('x') }} {{ e|default('x') }}| {{ e|default('x', true) }} {{ "
         "none_|d('y') }} {{ undef.x|d('z') if 0 else 1 }}",
         "x | x None 1"},
        {"{{ l|first }} {{ l|last }} {{ s|first }} {{ d|last }} {{ []|first }}|{{ []|last }}",
         "3 2 H items |"},
        {"{{ s|list|length }} {{ d|list }} {{ 'añ'|list }}", "11 ['x', 'y', 'items'] ['a', 'ñ']"},
        {"{{ d|tojson }} {{ [1.0, none_, yes, 'é\"<>&\\n\\u2028', 1e100]|tojson }} {{ "
         "'é🤗\\x7f'|tojson(ensure_ascii=true) }}",
         "{\"x\": 1, \"y\": \"two\", \"items\": 5} [1.0, null, true, \"é\\\"<>&\\n \", 1e+100] "
         "\"\\u00e9\\ud83e\\udd17\\u007f\""},
        {"{{ {'a': [1, {'b': []}], 'c': {}}|tojson(indent=2) }}",
         "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": {}\n}"},
        {"{{ {'b': 1, 'a': [1, 2]}|tojson(separators=(',', ':'), sort_keys=true) }} {{ (1, "
         "2)|tojson }} {{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }} {{ [1]|tojson(indent='>') }}",
         "{\"a\":[1,2],\"b\":1} [1, 2] {\"1\": 4, \"null\": 3, \"1.5\": 5} [\n>1\n]"},
        {"{{ 1.5|string + 'a' }} {{ '42'|int + 1 }} {{ 'x'|int }} {{ 'x'|int(7) }} {{ '1f'|int(0, "
         "16) }} {{ ' 3.9 '|int }} {{ 3.9|int }} {{ '3.5'|float }} {{ 'x'|float(1.5) }} {{ yes|int "
         "}} {{ none_|int }}",
         "1.5a 43 0 7 31 3 3 3.5 1.5 1 0"},
        {"{{ s|replace('l', '1') }} {{ s|replace('o', 0, 1) }}", "He11o Wor1d Hell0 World"},
        {"{{ l|select('odd')|list }} {{ l|reject('odd')|list }} {{ [0, 1, '', 'a']|select|list }} "
         "{{ l|select('in', [1, 2])|list }} {{ l|select('>', 1)|list }}",
         "[3, 1] [2] [1, 'a'] [1, 2] [3, 2]"},
        {"{{ rows|selectattr('v', 'equalto', 2)|map(attribute='n')|list }} {{ rows|rejectattr('v', "
         "'eq', 2)|list }} {{ rows|selectattr('q', 'defined')|list }} {{ "
         "rows|selectattr('v')|list|length }}",
         "['B', 'b'] [{'n': 'a', 'v': 1}] [] 3"},
        {"{{ words|map('upper')|list }} {{ rows|map(attribute='q', default='-')|list }} {{ "
         "l|map('string')|map('length')|list }} {{ ['a,b']|map('replace', ',', ';')|list }} {{ "
         "[{'a': {'b': [7]}}]|map(attribute='a.b.0')|list }}",
         "['B', 'A', 'C', 'A'] ['-', '-', '-'] [1, 1, 1] ['a;b'] [7]"},
        {"{{ words|sort }} {{ words|sort(case_sensitive=true) }} {{ l|sort(reverse=true) }} {{ "
         "rows|sort(attribute='v,n')|map(attribute='n')|list }} {{ 'cab'|sort }}",
         "['A', 'a', 'b', 'c'] ['A', 'a', 'b', 'c'] [3, 2, 1] ['a', 'B', 'b'] ['a', 'b', 'c']"},
        {"{{ ['a', 'A', 'b']|unique|list }} {{ [1, 1.0, 2]|unique|list }} {{ "
         "rows|unique(attribute='v')|map(attribute='n')|list }}",
         "['a', 'b'] [1, 2] ['B', 'a']"},
        {"{{ l|reverse|list }} {{ s|reverse }} {{ d|items|list }} {{ d|dictsort|first }} {{ {'b': "
         "1, 'A': 2}|dictsort }} {{ {'b': 1, 'A': 2}|dictsort(by='value', reverse=true) }}",
         "[2, 1, 3] dlroW olleH [('x', 1), ('y', 'two'), ('items', 5)] ('items', 5) [('A', 2), "
         "('b', 1)] [('A', 2), ('b', 1)]"},
        {"{{ 'a\\nb\\n\\nc'|indent }}|{{ 'a\\nb'|indent(2, true) }}|{{ 'a\\n\\nb'|indent('>', "
         "blank=true) }}",
         "a\n    b\n\n    c|  a\n  b|a\n>\n>b"},
        {"{{ '<a&\"\\'>'|escape }} {{ '<'|e ~ '>' }} {{ ('<'|safe) + '>' }} {{ s|safe }}",
         "&lt;a&amp;&#34;&#39;&gt; &lt;> <&gt; Hello World"},
        {"{{ -3|abs }} {{ -2.5|abs }} {{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ "
         "2.1|round(0, 'ceil') }} {{ 2.19|round(1, 'floor') }} {{ 7|round }}",
         "3 2.5 2.0 4.0 2.67 3.0 2.1 7"},
        {"{{ l|sum }} {{ rows|sum(attribute='v') }} {{ l|sum(start=10) }} {{ l|max }} {{ words|min "
         "}} {{ rows|max(attribute='v') }} {{ []|max }}",
         "6 5 16 3 A {'n': 'B', 'v': 2} "},
        {"{{ l|batch(2)|list }} {{ l|batch(2, 0)|list }} {{ [1, 2, 3, 4, 5]|slice(2)|list }} {{ "
         "[1, 2, 3]|slice(2, 'x')|list }}",
         "[[3, 1], [2]] [[3, 1], [2, 0]] [[1, 2, 3], [4, 5]] [[1, 2], [3, 'x']]"},
        {"{{ rows|groupby('v') }}",
         "[(1, [{'n': 'a', 'v': 1}]), (2, [{'n': 'B', 'v': 2}, {'n': 'b', 'v': 2}])]"},
        {"{{ '%s-%s'|format(1, 'a') }} {{ 'ab'|center(6) }}| {{ 'foo bar baz qux'|truncate(9) }} "
         "{{ 'foo bar baz qux'|truncate(9, true) }} {{ 'foo bar baz qux'|truncate(11) }} {{ 'foo "
         "bar'|truncate(5, false, '~', 0) }}",
         "1-a   ab  | foo... foo ba... foo bar baz qux foo~"},
        {"{{ s|attr('upper')() }} {{ d|attr('x') }}|", "HELLO WORLD |"},
    };
    CHECK(examples);
}

static void tests_of_values(void **state)
{
    static const example examples[] = {
        {"{{ n is defined }} {{ undef is defined }} {{ undef is undefined }} {{ none_ is none }} "
         "{{ n is not none }} {{ d.q is not defined }}",
         "True False True True True True"},
        {"{{ s is string }} {{ n is string }} {{ n is number }} {{ yes is number }} {{ n is "
         "integer }} {{ yes is integer }} {{ f is float }} {{ yes is boolean }} {{ yes is true }} "
         "{{ 1 is true }} {{ e is false }}",
         "True False True True True False True True True False False"},
        {"{{ d is mapping }} {{ l is mapping }} {{ s is iterable }} {{ n is iterable }} {{ l is "
         "sequence }} {{ s is sequence }} {{ d is sequence }} {{ undef is iterable }}",
         "True False True False True True True True"},
        {"{{ n is odd }} {{ n is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(2) }}",
         "True False True False"},
        {"{{ n is eq 3 }} {{ n is equalto 3 }} {{ n is ne 3 }} {{ n is lt 4 }} {{ n is gt(4) }} {{ "
         "n is le 3 }} {{ n is ge 4 }} {{ n is in l }} {{ n is in [1] }}",
         "True True False True False True False True False"},
        {"{{ 'a' is lower }} {{ 'a' is upper }} {{ 'A1' is upper }} {{ none_ is sameas none }} {{ "
         "l is sameas l }} {{ [] is sameas [] }}",
         "True False True True True False"},
        {"{{ 1 if n is defined and n is not string else 2 }} {{ not n is string }} {{ n is not "
         "string and yes }}",
         "1 True True"},
        {"{{ range is callable }} {{ s is callable }} {{ 'upper' is filter }} {{ 'nope' is test }} "
         "{{ ('x'|safe) is escaped }}",
         "True False True False True"},
    };
    CHECK(examples);
}

static void the_date(void **state)
{
    char expected[64], *text;
    do { /* again where midnight passes */
        time_t now = time(NULL);
        strftime(expected, sizeof expected, "%d %b %Y", localtime(&now));
        text = render("{{ strftime_now('%d %b %Y') }}", PARE_OK);
        now = time(NULL);
        char again[64];
        strftime(again, sizeof again, "%d %b %Y", localtime(&now));
        if (!strcmp(expected, again))
            break;
        free(text);
    } while (true);
    assert_string_equal(text, expected);
    free(text);
}

typedef struct failure {
    const char *source;
    pare_status status;
    const char *message; /* a part of it */
} failure;

static void failures(void **state)
{
    static const failure examples[] = {
        {"a\n{{ raise_exception('Roles must alternate!') }}", PARE_INVALID_ARGUMENT,
         "test: line 2: Roles must alternate!"},
        {"{% if x %}", PARE_FORMAT, "line 1: the template ends before 'elif'"},
        {"\n\n{{ 1 + }}", PARE_FORMAT, "line 3: expected an expression, got '}}'"},
        {"{{ 'abc }}", PARE_FORMAT, "a string does not end"},
        {"{# abc", PARE_FORMAT, "a comment does not end"},
        {"{% raw %}x", PARE_FORMAT, "'raw' is not closed"},
        {"{{ (1 }}", PARE_FORMAT, "unexpected '}'"},
        {"{% endfor %}", PARE_FORMAT, "unknown tag 'endfor'"},
        {"{% break %}", PARE_FORMAT, "'break' outside of a loop"},
        {"{{ a b }}", PARE_FORMAT, "expected '}}', got 'b'"},
        {"{% set 1 = 2 %}", PARE_FORMAT, "expected a name"},
        {"\xff{{ 1 }}", PARE_FORMAT, "not valid UTF-8"},
        {"x\n{% include 'a' %}", PARE_UNSUPPORTED, "line 2: the tag 'include'"},
        {"{% for x in l recursive %}{% endfor %}", PARE_UNSUPPORTED, "recursive loops"},
        {"{{ s|wordwrap }}", PARE_UNSUPPORTED, "the filter 'wordwrap'"},
        {"{{ s is prime }}", PARE_UNSUPPORTED, "the test 'prime'"},
        {"{{ s.encode() }}", PARE_UNSUPPORTED, "the method 'encode' of 'str'"},
        {"{{ lipsum() }}", PARE_UNSUPPORTED, "the function 'lipsum'"},
        {"{{ l|select }}", PARE_UNSUPPORTED, "the text of a generator"},
        {"{{ x.y }}", PARE_INVALID_ARGUMENT, "'x' is undefined"},
        {"{{ d.q.r }}", PARE_INVALID_ARGUMENT, "'dict object' has no attribute 'q'"},
        {"{{ l[7] + 1 }}", PARE_INVALID_ARGUMENT, "list object has no element 7"},
        {"{{ none_.x.y }}", PARE_INVALID_ARGUMENT, "'None' has no attribute 'x'"},
        {"{{ s + 1 }}", PARE_INVALID_ARGUMENT, "can only concatenate str (not \"int\") to str"},
        {"{{ s + none_ }}", PARE_INVALID_ARGUMENT,
         "can only concatenate str (not \"NoneType\") to str"},
        {"{{ n() }}", PARE_INVALID_ARGUMENT, "'int' object is not callable"},
        {"{{ l.append(1) }}", PARE_INVALID_ARGUMENT, "unsafe"},
        {"{{ 1 // 0 }}", PARE_INVALID_ARGUMENT, "division by zero"},
        {"{{ n < s }}", PARE_INVALID_ARGUMENT,
         "'<' not supported between instances of 'int' and 'str'"},
        {"{% set a, b = l %}", PARE_INVALID_ARGUMENT, "too many values to unpack (expected 2)"},
        {"{% set n.x = 1 %}", PARE_INVALID_ARGUMENT,
         "cannot assign attribute on non-namespace object"},
        {"{% for x in n %}{% endfor %}", PARE_INVALID_ARGUMENT, "'int' object is not iterable"},
        {"{{ {[]: 1} }}", PARE_INVALID_ARGUMENT, "unhashable type: 'list'"},
        {"{{ l|tojson(1, 2, 3, 4, 5) }}", PARE_INVALID_ARGUMENT, "takes 4 arguments at most"},
        {"{{ 9223372036854775807 + 1 }}", PARE_LIMIT, "over 64 bits"},
    };
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        assert_null(render(examples[i].source, examples[i].status));
        if (!strstr(pare_error_message(), examples[i].message))
            print_error("%s\n  %s\n", examples[i].source, pare_error_message());
        assert_non_null(strstr(pare_error_message(), examples[i].message));
    }
}

/* Templates that would run, grow or recurse without end. */
static void hostile_templates_end(void **state)
{
    static const char *const sources[] = {
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(99) %}{% set ns.x = ns.x "
        "~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% "
        "endfor %}{{ ns.x }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ 'x' * 99999999999 }}",
        "{{ [1] * 99999999999 }}",
        "{{ '%99999999d' % 1 }}",
        "{{ 'a'.center(9999999999) }}",
        "{{ range(100001) }}",
        "{% for a in range(9999) %}{{ a|string * 999999 }}{% endfor %}",
        "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
    };
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        assert_null(render(sources[i], PARE_LIMIT));
}

static void deep_nesting_is_refused(void **state)
{
    enum { DEPTH = 100000 };
    static const char *const parts[] = {"(", "[", "not ", "-", "{% if 1 %}", "x if y else "};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        size_t length = strlen(parts[i]);
        char *source = calloc(DEPTH * length + 16, 1);
        assert_non_null(source);
        strcpy(source, parts[i][0] == '{' ? "" : "{{ ");
        for (char *end = source + strlen(source), *stop = end + DEPTH * length; end < stop;
             end += length)
            memcpy(end, parts[i], length);
        assert_null(render(source, PARE_LIMIT));
        free(source);
    }
}

static void limits_of_the_caller(void **state)
{
    static const pare_template_limits small = {.steps = 100, .memory = 1 << 20, .output = 10};
    json_t *variables = json_object();
    char *text;
    assert_int_equal(pare_template_render_within(&small, "0123456789", "t", variables, &text),
                     PARE_OK);
    assert_string_equal(text, "0123456789");
    free(text);
    assert_int_equal(pare_template_render_within(&small, "01234567890", "t", variables, &text),
                     PARE_LIMIT);
    assert_int_equal(pare_template_render_within(&small, "{% for i in range(99) %}{% endfor %}",
                                                 "t", variables, &text),
                     PARE_LIMIT);
    json_decref(variables);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whitespace),
        cmocka_unit_test(statements),
        cmocka_unit_test(expressions),
        cmocka_unit_test(strings),
        cmocka_unit_test(filters),
        cmocka_unit_test(tests_of_values),
        cmocka_unit_test(the_date),
        cmocka_unit_test(failures),
        cmocka_unit_test(hostile_templates_end),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(limits_of_the_caller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
