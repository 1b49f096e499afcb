"""What tools/record_chat_cases.py renders in addition to the whole templates: one construct of Jinja2 each.

`lines` are written by hand; `products` are all combinations of methods, filters, tests and operators with values.
"""

# One template a line. Line ends inside templates are in `MORE`.
LINES = r"""
{{ messages|tojson }}
{{ messages[0]|tojson(indent=2) }}
{{ ['<', '\\u003c', "it's", 1.5, none, true]|tojson }}
{{ messages[0].content|tojson(ensure_ascii=False) }}
{{ true }} {{ none }} {{ 1 / 2 }} {{ 7 // 2 }} {{ [1, 'a'] }} {{ missing }}|{{ messages[0].missing }}
{% for m in messages if m.role == 'user' %}{{ loop.index }}/{{ loop.length }} {% else %}none{% endfor %}
{% for m in messages %}{% if m.role == 'user' %}{% break %}{% endif %}{{ m.role }}{% endfor %}
{% for m in messages %}{% if loop.first %}{% break %}{% endif %}{{ m.role }}{% else %}none{% endfor %}
{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.role }}{% else %}none{% endfor %}
{% for m in messages %}{% continue %}{% else %}none{% endfor %}
{% for i in [1,2] %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% else %}none{% endfor %}
{% for i in [1,2] %}{% for j in [] %}{% else %}{% break %}{% endfor %}{{ i }}{% else %}none{% endfor %}|
{% for i in [1,2] %}{% for j in [] %}{% else %}{% continue %}{% endfor %}{{ i }}{% endfor %}|
{% for i in [] %}{% else %}{% break %}{% endfor %}
{% filter length %}abc{% endfilter %}
{% filter first %}abc{% endfilter %}|{% filter trim|upper %} abc {% endfilter %}
{% filter e %}<abc>{% endfilter %}|{% filter default('x') %}abc{% endfilter %}
{{ messages|sort(attribute='missing')|map(attribute='role')|join(',') }}
{{ [none, none]|sort }} {{ [{}, {}]|sort }} {{ [[missing], [missing]]|sort|length }}
{{ [{'a': 1}, {}]|sort(attribute='a') }}
{{ [none, 1]|sort }}
{{ messages|groupby('missing')|length }}
{% set ns = namespace(n=0, s='') %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}
{{ messages|map(attribute='role')|join(', ') }} {{ messages|selectattr('role', 'equalto', 'user')|list|length }}
{{ (messages|last)['content'].strip().upper() }} {{ messages[-1]['role'].title() }} {{ messages[0].content[:4] }}
{{ 'a,b,c'.split(',')|reverse|join('-') }} {{ 'a b'.replace(' ', '_') }} {{ 'xax'.strip('x') }} {{ 'ab'[::-1] }}
{{ messages[0].get('role') }} {{ messages[0].get('x', 'none') }} {{ 'role' in messages[0] }} {{ messages[0].keys()|list }}
{% for k, v in messages[0].items() %}{{ k }}={{ v|length }};{% endfor %}
{{ tools is none }} {{ documents is defined }} {{ tools is defined and tools is not none }} {{ pad_token is defined }}
{{ bos_token }}{{ eos_token }}{{ unk_token }} {{ bos_token + 'x' }} {{ add_generation_prompt }} {{ mask_token }}
{{ additional_special_tokens }} {{ additional_special_tokens[0] }} {{ cls_token is defined }}
{{ messages[0].content|replace('<b>', '')|trim|length }} {{ 'yes' if messages is iterable and messages is not mapping else 'no' }}
{{- '\n' -}} a {#- comment -#} b {{ '%s-%d'|format('x', 3) }} {{ 'é'|length }}
{{ raise_exception('stop here') }}
{{ raise_exception(3) }}
{{ raise_exception() }}
{% if %}
{{ unknown_function() }}
{{ 'a' + 1 }}
{{ '{% generation %}' }}
{% raw %}{% generation %}{% endraw %}
{% generation %}a{% set x = 1 %}{{ x }}{% endgeneration %}{{ x }}
{%- generation -%} a {%- endgeneration -%} b
{% generation %}{% generation %}a{% endgeneration %}{% endgeneration %}
{% for i in [1,2] %}{% generation %}{{ loop.index }}{{ i }}{% endgeneration %}{% endfor %}
{% for i in [1,2] %}{% generation %}{% break %}{% endgeneration %}{% endfor %}
{{ '{{' }} {{ '}}' }} {{ "%}" }} {{ '{#' }}
{{ {'a': {'b': 1}} }} {{ {'a': {'b': {}}}.a.b }}
{{{'a': 1}}}
{{ {} }} {{ [] }} {{ () }} {{ (1,) }} {{ 1, 2 }} {{ (1) }} {{ {'a':1,}['a'] }} {{ [1,] }}
{# a #}b{# {{ x }} {% y %} #}c
{#- a -#} b {#+ c +#} d{{ 1 }}
a {% raw %} {{ x }} {%- endraw %} b
a {%- raw -%} {{ x }} {%- endraw -%} b
a {% raw %}{% if %}{{{% endraw %} b
{% raw %}
{# never closed
{{ 'never closed }}
{{ x
{% if x
{{ x }
{{ (1 }}
{{ 1) }}
{{ [1} }}
{% unknown %}
{% do x %}
{% endif %}
{% if true %}
{% for x in [1] %}{% endif %}
{% extends 'x' %}
{% include 'x' %}
{% import 'x' as y %}
{{ 1_000 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1e3 }} {{ 1.5e-3 }} {{ 1E+2 }} {{ 1_0.5_0 }} {{ 00 }} {{ 0x_ff }}
{{ 012 }}
{{ 1__0 }}
{{ 1. }}
{{ .5 }}
{{ 1.real }}
{{ 1e }}
{{ 'a\tb\\n\'\"\x41\u00e9\U0001f600\101\0z\q\é\語' }}
{{ '\x4' }}
{{ '\u12' }}
{{ 'a' 'b' "c" }}
{{ "a'b" }} {{ 'a"b' }} {{ ["a'b", 'a"b', 'a\'b"c'] }}
{{ ['\x00\x1f\x7f\x80\xa0\xad\u200b\u2028\ufeff\U0001f600é\t\r\n\\'] }}
{{ 1 + 2 * 3 ** 2 }} {{ (1 + 2) * 3 }} {{ -2 ** 2 }} {{ 2 ** -1 }} {{ 2 ** 3 ** 2 }} {{ - -1 }} {{ +1 }} {{ -'a'|length }}
{{ 7 // -2 }} {{ -7 // 2 }} {{ 7 % -3 }} {{ -7 % 3 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 1e308 * 10 }} {{ -1e308 * 10 }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1 % 0 }}
{{ 1.0 / 0 }}
{{ 0.1 + 0.2 }} {{ 1e16 }} {{ 1e15 }} {{ 123456789012345678 }} {{ 1e-4 }} {{ 1e-5 }} {{ 1.0 }} {{ 100.0 }} {{ -0.0 }} {{ 1e22 }} {{ 1.5e300 }} {{ 5e-324 }}
{{ 1e16|tojson }} {{ 1.5e-7|tojson }} {{ (1e308*10)|tojson }} {{ 0.0|tojson }} {{ -0.0|tojson }}
{{ 99999999999999999999 + 1 }} {{ 10 ** 30 }} {{ 2 ** 100 }}
{{ 10 ** 40 }}
{{ 1 == 1.0 }} {{ 1 == true }} {{ 0 == false }} {{ '1' == 1 }} {{ [1] == [1.0] }} {{ (1,) == [1] }} {{ none == none }} {{ missing == missing }} {{ missing == none }} {{ missing != 1 }}
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 < 2 == true }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 'a' in 'abc' in ['abc'] }} {{ 1 not in [2] }} {{ not 1 in [1] }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ missing < 1 }}
{{ missing + 'a' }}
{{ 'a' + missing }}
{{ missing ~ 'a' }} {{ 1 ~ 2 ~ none ~ [1] ~ 1.0 ~ true }}
{{ missing.x }}
{{ missing['x'] }}
{{ missing[0] }}
{{ missing() }}
{{ missing[1:] }}
{{ -missing }}
{{ missing|length }} {{ missing|upper }} {{ missing|list }} {{ missing|first }} {{ missing|join }} {{ missing|trim }} {{ missing|default('d') }} {{ missing|string }}
{{ missing|int }}
{{ missing|float }}
{{ missing|tojson }}
{{ missing|abs }}
{{ missing is defined }} {{ missing is undefined }} {{ missing is none }} {{ missing is string }} {{ missing is iterable }} {{ missing is sequence }} {{ missing is mapping }} {{ missing is callable }} {{ missing is number }}
{{ [missing] }} {{ 'x' in missing }} {{ not missing }} {{ missing or 'b' }} {{ missing and 'b' }}|
{{ missing in 'abc' }}
{% for x in missing %}a{% else %}b{% endfor %}
{% for x in none %}a{% endfor %}
{% for x in 3 %}a{% endfor %}
{% for c in 'abc' %}{{ c }}-{% endfor %}{% for k in {'a': 1, 'b': 2} %}{{ k }}{% endfor %}
{% for i in range(5) %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }};{% endfor %}
{% for i in [1, 2, 3] %}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.previtem is defined }}{{ loop.nextitem is defined }};{% endfor %}
{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{{ loop.cycle('a', 'b') }}{% endfor %}
{% for i in [1] %}{{ loop }}{% endfor %}
{% for i in [1] %}{{ loop.missing }}{{ loop.index is even }}{% endfor %}{{ loop }}
{% for i in [1, 2, 3] if i != 2 %}{{ loop.index }}{{ loop.length }}{{ i }}{% endfor %}
{% for i in [] %}a{% else %}b{% set x = 1 %}{% endfor %}{{ x }}
{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% endfor %}{% for (a, b) in [(1, 2)] %}{{ a }}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for i in [[1, [2, 3]], 4] recursive %}{{ i if i is number else loop(i) }}{{ loop.depth }};{% endfor %}
{% for i in [1] %}{{ loop([2]) }}{% endfor %}
{% for i in [1, 2, 3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}
{% break %}
{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + 1 %}{% endfor %}{{ x }}
{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}
{% set x, y = 1, 2 %}{{ x }}{{ y }}{% set x, y = (y, x) %}{{ x }}{{ y }}
{% set x = 1, 2 %}{{ x }}{% set (a, b) = x %}{{ a }}{{ b }}{% set a, = [7] %}{{ a }}
{% set x %}a{{ 1 }}b{% endset %}{{ x }}{% set y | upper | replace('A', 'z') %}abc{% endset %}{{ y }}
{% set x.y = 1 %}
{% set x = {} %}{% set x.y = 1 %}
{% set ns = namespace() %}{% set ns.a = 1 %}{{ ns.a }}{{ ns.b }}{% set ns.a %}q{% endset %}{{ ns.a }}{{ ns is mapping }}
{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}{{ ns['a'] }}
{% set true = 1 %}
{% set 1 = 1 %}
{% with a = 1, b = 2 %}{{ a }}{{ b }}{% set c = 3 %}{% endwith %}{{ a }}{{ c }}
{% set a = 5 %}{% with a = 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}
{% with %}{% set a = 1 %}{{ a }}{% endwith %}{{ a }}
{% filter upper %}abc{{ 'd' }}{% endfilter %}{% filter replace('a', 'b')|upper %}aa{% endfilter %}
{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(1, c=4) }} {{ m(b=1, a=0) }} {{ m() }}
{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}{{ m(1) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}
{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, z=4) }}
{% macro m(x) %}[{{ caller() }}{{ x }}]{% endmacro %}{% call m(1) %}body{% endcall %}
{% macro m() %}{% for i in [1, 2] %}{{ caller(i) }}{% endfor %}{% endmacro %}{% call(x) m() %}<{{ x }}>{% endcall %}
{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}
{% macro m() %}a{% endmacro %}{% call m() %}b{% endcall %}
{% macro m(n) %}{{ n }}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(5) }}
{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}{% set x = 2 %}{{ m() }}
{% macro m() %}{% set x = 5 %}{{ x }}{% endmacro %}{{ m() }}{{ x }}
{% macro m(a, b=1) %}{% endmacro %}{{ m.name }} {{ m.arguments }} {{ m.catch_kwargs }} {{ m.catch_varargs }} {{ m.caller }} {{ m }} {{ m is callable }}
{% macro m(a=1, b) %}{% endmacro %}
{% for i in [1, 2] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}{{ m }}
{% macro m() %} x {% endmacro %}{{ m()|trim }}{{ m() ~ 'y' }}{{ m()|length }}
{% macro a() %}1{% endmacro %}{% macro b() %}{{ a() }}2{% endmacro %}{{ b() }}
{% print 1, 'a' %}{% print 2 %}
{{ 1 if true }} {{ 1 if false }}| {{ 1 if false else 2 }} {{ 1 if false else 2 if false else 3 }}
{{ (1 if false) is defined }}
{{ 'a' if 'b' else 'c' }} {{ 'a' or 'b' }} {{ '' or 'b' }} {{ 0 and 1 }} {{ 1 and 2 }} {{ not '' }} {{ not not 1 }}
{{ range(3) }} {{ range(1, 5, 2)|list }} {{ range(5, 0, -2)|list }} {{ range(3)[1] }} {{ range(0) }} {{ range(1, 4) }} {{ range(0, 4, 2) }} {{ 2 in range(3) }} {{ range(3)|length }}
{{ range(100001) }}
{{ range() }}
{{ range(1.5) }}
{{ dict(a=1, b=2) }} {{ dict([('a', 1)]) }} {{ dict({'a': 1}, a=2) }} {{ dict() }}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.reset() }}{{ c.current }}
{% set j = joiner('-') %}{{ j() }}a{{ j() }}b{{ j() }}
{{ joiner()() }}|
{{ messages.append(1) }}
{{ [].append }}| {{ [].append is defined }} {{ {}.update is defined }} {{ {}.pop }}|
{{ ''.__class__ }}
{{ {'a': 1}.a }} {{ {'a': 1}['a'] }} {{ {'a': 1}.b is defined }} {{ {'items': 1}['items'] }} {{ {1: 'x'}[1] }} {{ {'a': 1}|length }}
{{ {'keys': 5}.keys()|list }} {{ {'get': 1}.get('get') }}
{{ {'a': 1, 'b': 2}.items() }} {{ {'a': 1}.keys() }} {{ {'a': 1}.values() }} {{ {'a': 1}.items()|list }}
{{ {'a': 1}.keys()[0] }}| {{ {'a': 1}.get('b') }} {{ {'a': 1}.get('b', 2) }} {{ {'a': 1}.copy() }}
{{ {'a': 1, 'a': 2} }} {{ {1: 'a', 1.0: 'b', true: 'c'} }} {{ {none: 1, (1, 2): 3} }}
{{ {[]: 1} }}
{{ {'b': 1, 'a': 2}|dictsort }} {{ {'b': 1, 'A': 2}|dictsort }} {{ {'b': 1, 'A': 2}|dictsort(true) }} {{ {'b': 1, 'a': 2}|dictsort(by='value') }} {{ {'b': 1, 'a': 2}|dictsort(false, 'key', true) }}
{{ {'b': 1}|items|list }} {% for k, v in {'a': 1}|items %}{{ k }}{{ v }}{% endfor %}
{{ 'abc'[0] }} {{ 'abc'[-1] }} {{ 'abc'[5] }}| {{ 'abc'[1:] }} {{ 'abc'[:-1] }} {{ 'abc'[::2] }} {{ 'abc'[::-1] }} {{ 'abc'[2:0:-1] }} {{ 'abc'[-100:100] }} {{ 'abc'[3:1] }}|
{{ [1, 2, 3][1:] }} {{ (1, 2, 3)[::-1] }} {{ [1, 2, 3][-2:] }} {{ [1, 2, 3][5] }}| {{ [1][true] }}| {{ [1, 2]['x'] }}| {{ [1].0 }} {{ [[1, 2]].0.1 }} {{ [1]['0'] }}|
{{ 'abc'[::0] }}
{{ 'abc'['a':] }}|
{{ {'a': 1}[1:] }}|
{{ none[1:] }}|
{{ none.x }}| {{ none['x'] }}| {{ 5 .x }}| {{ 'a'.x }}| {{ true.x }}|
{{ [1, 2] + [3] }} {{ (1,) + (2,) }} {{ [1] * 3 }} {{ 'ab' * 2 }} {{ 3 * 'x' }} {{ 'x' * -1 }}| {{ true + true }} {{ [] * 5 }}
{{ [1] + (2,) }}
{{ 'a' * 'b' }}
{{ 'a' - 'b' }}
{{ none + 1 }}
{{ 'x' * 1000000000 }}
{{ '%s=%d' % ('x', 3) }} {{ '%5.2f|%-5s|%05d|%+d|%x|%X|%o|%e|%g|%%|%c|%r' % (3.14159, 'a', 42, 7, 255, 255, 8, 12345.678, 0.0001, 'z', 'q') }}
{{ '%s' % 'a' }} {{ '%s' % [1] }} {{ '%s' % none }} {{ '%(a)s %(b)d' % {'a': 1, 'b': 2} }} {{ '%s %s' % (1, 2) }} {{ 'x' % [] }} {{ 'x' % {} }}
{{ '%d' % 'a' }}
{{ '%s %s' % 1 }}
{{ '%s' % (1, 2) }}
{{ '%' % 1 }}
{{ '%z' % 1 }}
{{ '%d' % 3.7 }} {{ '%i' % true }} {{ '%.3s' % 'abcdef' }} {{ '%*d' % (5, 3) }} {{ '%-*s|' % (5, 'a') }} {{ '% d' % 5 }} {{ '%#x' % 255 }} {{ '%.0f' % 2.5 }} {{ '%.3d' % 5 }} {{ '%G' % 1e-10 }} {{ '%g' % 100000 }} {{ '%g' % 1000000 }} {{ '%s' % missing }}|
{{ '{} {}'.format(1, 'a') }} {{ '{0}{1}{0}'.format('a', 'b') }} {{ '{x}'.format(x=1) }} {{ '{{}}'.format() }} {{ '{0[0]}'.format([7]) }} {{ '{a.b}'.format(a={'b': 3}) }} {{ '{!r}'.format('a') }}
{{ '{:>5}|{:<5}|{:^5}|{:*^7}|{:05d}|{:+d}|{:,}|{:.2f}|{:x}|{:b}|{:o}|{:e}|{:g}|{:%}|{:_}'.format('a', 'b', 'c', 'd', 42, 7, 1234567, 3.14159, 255, 5, 8, 12345.6, 0.5, 0.25, 10000) }}
{{ '{:.2}'.format('abcdef') }} {{ '{:10}|'.format(3) }} {{ '{:10}|'.format('a') }} {{ '{:=+6d}'.format(3) }} {{ '{:.1f}'.format(2) }} {{ '{:.3e}'.format(12345) }} {{ '{:6.2f}|'.format(3.14159) }}
{{ '{}'.format() }}
{{ '{x}'.format() }}
{{ '{'.format() }}
{{ '{:d}'.format('a') }}
{{ '{} {0}'.format(1) }}
{{ 'x' is callable }} {{ range is callable }} {{ 'a'.upper is callable }}
{{ 'abc'.index('c') }}{{ 'abc'.removeprefix('a') }}{{ 'abc'.removesuffix('c') }}
{{ 'abc'.index('z') }}
{{ 'a-b-c'.partition('-') }} {{ 'a-b-c'.rpartition('-') }} {{ 'abc'.partition('-') }} {{ 'abc'.rpartition('-') }}
{{ 'a b  c'.split() }} {{ ' a b '.split(' ') }} {{ 'a,b,c'.split(',', 1) }} {{ 'a,b,c'.rsplit(',', 1) }} {{ 'a b c'.split(none, 1) }} {{ 'a b c'.rsplit(none, 1) }} {{ 'a,b'.split(sep=',') }} {{ 'a,b,c'.split(',', maxsplit=1) }} {{ ''.split() }} {{ ''.split(',') }}
{{ 'a'.split('') }}
{{ 'a\nb\r\nc\n'.splitlines() }} {{ 'a\nb'.splitlines(true) }} {{ 'a\x0bb\x0cc\x1cd\x85e\u2028f'.splitlines() }} {{ ''.splitlines() }}
{{ ','.join(['a', 'b']) }} {{ ','.join('abc') }} {{ ''.join([]) }}| {{ ','.join({'a': 1}) }}
{{ ','.join([1]) }}
{{ 'abcabc'.replace('a', 'x') }} {{ 'abcabc'.replace('a', 'x', 1) }} {{ 'abc'.replace('', '-') }} {{ 'abc'.replace('', '-', 2) }} {{ 'aaa'.replace('aa', 'b') }}
{{ 'abc'.startswith('a') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('c') }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.endswith('b', 0, 2) }} {{ 'abc'.startswith('') }} {{ 'abc'.startswith('', 5) }}
{{ 'abc'.startswith(1) }}
{{ 'abcabc'.find('c') }} {{ 'abcabc'.rfind('c') }} {{ 'abc'.find('z') }} {{ 'abcabc'.find('a', 1) }} {{ 'abcabc'.count('a') }} {{ 'aaa'.count('aa') }} {{ 'abc'.count('') }} {{ 'abcabc'.rindex('a') }} {{ 'abc'.find('', 3) }} {{ 'abc'.find('', 4) }}
{{ 'ab'.center(5) }}| {{ 'ab'.center(6, '*') }} {{ 'a'.center(4) }}| {{ 'ab'.ljust(4, '.') }} {{ 'ab'.rjust(4, '.') }} {{ '5'.zfill(3) }} {{ '-5'.zfill(4) }} {{ 'ab'.center(1) }}
{{ 'ab'.center(5, 'xx') }}
{{ 'a\tb'.expandtabs() }} {{ 'a\tb'.expandtabs(4) }} {{ '\t'.expandtabs(0) }}|
{{ "they're bill's".title() }} {{ 'ABC def'.capitalize() }} {{ 'aBc'.swapcase() }} {{ 'ß'.upper() }} {{ 'ΑΣ'.lower() }} {{ 'ǆ'.title() }} {{ 'ß'.title() }} {{ 'ﬁ'.capitalize() }} {{ 'İ'.lower()|length }} {{ 'ABC'.casefold() }}
{{ "it's"|title }} {{ 'a-b (c) [d] {e} <f'|title }} {{ 'ABC'|capitalize }} {{ 'fooBar x'|title }}
{{ '²'.isdigit() }}{{ '٣'.isdigit() }}{{ '½'.isdigit() }}{{ '½'.isnumeric() }}{{ '²'.isdecimal() }}{{ '٣'.isdecimal() }}{{ '三'.isnumeric() }}{{ '三'.isalpha() }}
{{ 'a\rb\x0bc'.splitlines()|length }} {{ '\x1c a'|trim }} {{ 'a/b"'|e }} {{ 'a b c'|wordcount }} {{ ['\u00a0'] }}
{{ '<a>&"\''|e }} {{ '<'|escape }} {{ '<'|safe }} {{ '<'|e|e }} {{ '<'|forceescape }} {{ ('<'|e)|string }} {{ ['<'|e] }} {{ ('<'|e) ~ '<' }} {{ ('<'|e)|length }} {{ '<'|safe is escaped }} {{ 5|e }}
{{ ('<'|e) + '<' }}
{{ ('<'|e).upper() }}
{{ ('a'|safe)|upper }}
{% autoescape true %}{{ '<' }}{% endautoescape %}
{{ 'a'|indent }} {{ 'a\nb'|indent }} {{ 'a\n\nb'|indent(2) }} {{ 'a\n\nb'|indent(2, true) }} {{ 'a\n\nb'|indent(2, blank=true) }} {{ 'a\nb'|indent('> ') }} {{ 'a\n'|indent }}| {{ 'a\nb'|indent(width=1, first=true) }} {{ ''|indent(first=true) }}|
{{ [1, 2, 3]|join }} {{ [1, 2, 3]|join(', ') }} {{ ['a', none, 1.0]|join('-') }} {{ messages|join(',', attribute='role') }} {{ 'abc'|join('.') }} {{ {'a': 1}|join }} {{ [1]|join(d='x') }}
{{ [3, 1, 2]|sort }} {{ ['b', 'A', 'c']|sort }} {{ ['b', 'A', 'c']|sort(case_sensitive=true) }} {{ [3, 1, 2]|sort(reverse=true) }} {{ messages|sort(attribute='role')|map(attribute='role')|list }} {{ [[2, 'a'], [1, 'b']]|sort }} {{ [(1, 'b'), (1, 'a')]|sort(attribute=0) }} {{ [{'a': 1, 'b': 2}, {'a': 1, 'b': 1}]|sort(attribute='a,b') }}
{{ [1, 'a']|sort }}
{{ [1, 2, 1, 'a', 'A']|unique|list }} {{ ['a', 'A']|unique(true)|list }} {{ [1, 1.0, true]|unique|list }}
{{ [1, 3, 2]|max }} {{ [1, 3, 2]|min }} {{ ['a', 'B']|max }} {{ []|max }}| {{ [{'a': 1}, {'a': 2}]|max(attribute='a') }} {{ ['b', 'A', 'a']|min }}
{{ [1, 2, 3]|sum }} {{ [{'a': 1}, {'a': 2}]|sum(attribute='a') }} {{ [[1], [2]]|sum(start=[]) }} {{ []|sum }} {{ [0.5, 0.25]|sum }} {{ [1, 2]|sum(start=10) }}
{{ ['a']|sum }}
{{ [1, 2, 3, 4, 5]|batch(2)|list }} {{ [1, 2, 3]|batch(2, 'x')|list }} {{ [1, 2, 3]|batch(0)|list }} {{ [1, 2, 3, 4, 5]|slice(2)|list }} {{ [1, 2, 3, 4, 5]|slice(3, 'x')|list }} {{ []|batch(2)|list }} {{ []|slice(2)|list }}
{{ [1, 2]|slice(0)|list }}
{{ messages|groupby('role') }}
{% for g in [{'a': 1, 'b': 1}, {'a': 2}, {'a': 1, 'b': 3}]|groupby('a') %}{{ g.grouper }}{{ g.list }}{% endfor %}{% for k, l in [{'a': 'x'}, {'a': 'X'}]|groupby('a') %}{{ k }}{{ l|length }}{% endfor %}
{{ [{'a': 1}, {}]|groupby('a', default=0) }}
{{ [1, 2]|first }} {{ [1, 2]|last }} {{ []|first }}| {{ []|last }}| {{ 'abc'|first }} {{ 'abc'|last }} {{ {'a': 1}|first }} {{ [1, 2]|map('string')|first }}
{{ [1, 2]|map('string')|last }}
{{ [1, 2]|map('string')|length }}
{{ [1, 2]|map('string') }}
{{ [1, 2]|reverse }}
{{ [1, 2]|reverse|list }} {{ 'abc'|reverse }} {{ {'a': 1, 'b': 2}|reverse|list }} {{ [1, 2]|map('string')|reverse }} {{ range(3)|reverse|list }}
{{ none|reverse }}
{% set g = [1, 2]|map('string') %}{{ g|list }}{{ g|list }}
{{ [1, 2, 3]|map('string')|map('length')|list }} {{ ['a']|map('upper')|list }} {{ ['a b']|map('replace', ' ', '_')|list }} {{ [{'a': 1}, {}]|map(attribute='a', default='z')|list }} {{ [[1, 2]]|map(attribute=0)|list }} {{ [{'a': {'b': 1}}]|map(attribute='a.b')|list }} {{ []|map('x')|list }}
{{ [1]|map()|list }}
{{ [1]|map('nofilter')|list }}
{{ [1, 2, 3, 4]|select('even')|list }} {{ [1, 2, 3]|reject('odd')|list }} {{ [0, 1, '']|select|list }} {{ [0, 1]|reject|list }} {{ [1, 2, 3]|select('>', 1)|list }} {{ ['a', 1]|select('string')|list }} {{ [1, 2]|select('in', [2])|list }} {{ [4, 5]|select('divisibleby', 5)|list }}
{{ messages|selectattr('role')|list|length }} {{ messages|rejectattr('role', 'eq', 'user')|list|length }} {{ messages|selectattr('content', 'defined')|list|length }} {{ [{'a': 1}, {'a': none}]|selectattr('a', 'none')|list }} {{ [{'a': 1}]|selectattr('b', 'undefined')|list }} {{ messages|selectattr('role', '==', 'user')|list|length }}
{{ [1]|select('notest')|list }}
{{ 42.55|round }} {{ 42.55|round(1) }} {{ 2.5|round }} {{ 3.5|round }} {{ 42|round }} {{ 42.1|round(0, 'ceil') }} {{ 42.9|round(method='floor') }} {{ 2.675|round(2) }} {{ -0.4|round }} {{ 42.1234|round(2, 'ceil') }} {{ true|round }}
{{ 'x'|round }}
{{ '42'|int }} {{ '42.7'|int }} {{ 'x'|int }} {{ 'x'|int(7) }} {{ '0x1f'|int(base=16) }} {{ '1f'|int(0, 16) }} {{ ' 42 '|int }} {{ '1_000'|int }} {{ 42.9|int }} {{ -42.9|int }} {{ true|int }} {{ none|int }} {{ []|int(3) }} {{ '-5'|int }} {{ '+5'|int }} {{ '1e3'|int }} {{ ''|int }} {{ '0b11'|int(base=2) }}
{{ '4.5'|float }} {{ 'x'|float }} {{ 'x'|float(1.5) }} {{ 3|float }} {{ '1e3'|float }} {{ 'inf'|float }} {{ 'nan'|float }} {{ ' 1 '|float }} {{ none|float }} {{ true|float }} {{ '1_0'|float }}
{{ -3|abs }} {{ (-3)|abs }} {{ (-3.5)|abs }}
{{ 'a'|abs }}
{{ 'hello world foo'|truncate(8) }} {{ 'hello world'|truncate(8, true) }} {{ 'hello world foo bar'|truncate(10, end='!') }} {{ 'hello'|truncate(5) }} {{ 'hello world'|truncate(5, true, '..', 0) }} {{ 'hello world'|truncate(9, leeway=0) }}
{{ 'a'|truncate(1) }}
{{ 'a b&c/d?é'|urlencode }} {{ {'a': 'b c', 'd': 1}|urlencode }} {{ [('a', 'b/c')]|urlencode }} {{ 5|urlencode }}
{{ 'foo'|center(7) }}| {{ 'foo'|center(8) }}| {{ 'a'|center(2) }}|
{{ 1000|filesizeformat }}
{{ {'a': 1}|attr('keys') is callable }} {{ {'a': 1}|attr('a') }}| {{ 'x'|attr('nope') }}|
{{ 'abc'|list }} {{ {'a': 1}|list }} {{ (1, 2)|list }} {{ range(2)|list }}
{{ 5|list }}
{{ 5|length }}
{{ none|length }}
{{ '  a '|trim }}| {{ 'xxaxx'|trim('x') }} {{ '\u00a0a\u3000'|trim }} {{ 5|trim }} {{ none|trim }} {{ 'a\ufeff'|trim|length }}
{{ none|upper }} {{ 5|lower }} {{ [1]|upper }} {{ true|string }} {{ 1.0|string }} {{ 'x'|string|string }}
{{ none|default('a') }} {{ none|default('a', true) }} {{ ''|d('a', boolean=true) }} {{ missing|d }}| {{ 0|default(5) }} {{ missing|default(default_value=3) }}
{{ {'b': 1, 'a': [2]}|tojson(separators=(',', ':')) }} {{ {'b': 1, 'a': 2}|tojson(sort_keys=true) }} {{ [1, 2]|tojson(2) }} {{ [1, 2]|tojson(indent=2) }} {{ {'a': []}|tojson(indent=1) }} {{ {}|tojson(indent=1) }} {{ {'a': {'b': [1, {'c': 2}]}}|tojson(indent='\t') }} {{ [1]|tojson(indent=0) }} {{ {'a': 1}|tojson(indent=4, sort_keys=true, separators=(',', ': ')) }}
{{ {'a': 'é'}|tojson(ensure_ascii=true) }} {{ '😀\x7f\x00\u2028"\\/\b\f\n\r\t'|tojson }} {{ '😀é\x7f'|tojson(true) }} {{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }} {{ (1, 2)|tojson }} {{ '<>&\''|tojson }}
{{ {(1, 2): 3}|tojson }}
{{ range(3)|tojson }}
{{ {'b': 1, 1: 2}|tojson(sort_keys=true) }}
{{ [1, 2]|tojson(nope=1) }}
{{ messages|tojson|length }} {{ (messages|tojson)[:5] }}
{{ x|nofilter }}
{% if false %}{{ x|nofilter }}{% endif %}a
{% if false %}{{ x is notest }}{% endif %}a
{{ 'a'|upper('x') }}
{{ 'a'|replace('a') }}
{{ 'a'|replace(old='a', new='b') }} {{ 'a'|replace('a', 5) }} {{ 5|replace('5', '6') }} {{ 'aaa'|replace('a', 'b', 2) }}
{{ 1 is odd }} {{ 2 is even }} {{ 4 is divisibleby 2 }} {{ 4 is divisibleby(3) }} {{ 1 is number }} {{ 1 is integer }} {{ 1.0 is float }} {{ true is boolean }} {{ true is integer }} {{ true is number }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ none is none }}
{{ 'a' is string }} {{ 'a' is lower }} {{ 'A' is upper }} {{ 'a1' is lower }} {{ '1' is lower }} {{ {} is mapping }} {{ [] is mapping }} {{ [] is sequence }} {{ 'a' is sequence }} {{ {} is sequence }} {{ 1 is sequence }} {{ [] is iterable }} {{ 1 is iterable }} {{ 'x' is filter }} {{ 'upper' is filter }} {{ 'odd' is test }} {{ 'x' is test }}
{{ 1 is sameas 1 }}
{{ true is sameas true }} {{ none is sameas none }} {{ [] is sameas [] }} {{ 1 is sameas '1' }} {{ 1 is sameas true }}
{{ 1 is eq 1 }} {{ 1 is ne 2 }} {{ 1 is lt 2 }} {{ 2 is gt(1) }} {{ 1 is in [1] }} {{ 1 is not in [1] }} {{ 2 is ge 2 }} {{ 2 is le 1 }} {{ 'a' is in 'abc' }} {{ 1 is equalto 1 }} {{ 1 is greaterthan 0 }} {{ 1 is lessthan 0 }}
{{ 1 is not none and 2 is defined }} {{ 'a' is string and 'b' is not number }} {{ not 1 is none }} {{ 1 is number is true }}
{{ 1 is nosuchtest }}
{{ 'a' is odd }}
{{ x is defined.y }}
{{ missing.a is defined }}
{{ messages[0].a is defined }} {{ messages[0].a.b is defined }}
{{ messages[0].a }}{{ messages[0]['a'] }}{{ messages[9] }}
{{ messages[9].role }}
{{ ''|length }} {{ 'é語😀'|length }} {{ 'é語😀'[1] }} {{ 'é語😀'|reverse }} {{ 'a😀'|tojson }}
{{ f(1 }}
{{ dict(**{'a': 1}) }} {{ dict(*[[('b', 2)]]) }} {{ '{}{}'.format(*[1, 2]) }} {{ 'a'.replace(*('a', 'b')) }}
{{ dict(a=1, **{'b': 2}) }}
{{ dict(a=1, 2) }}
{{ dict(a=1, a=2) }}
{{ lipsum is callable }} {{ strftime_now is defined }} {{ raise_exception is defined }} {{ namespace is callable }}
{{ 'a'.upper }}
{{ 'a'.encode() }}
{{ 5 .bit_length() }}
{{ loop is defined }} {{ self is defined }} {{ varargs is defined }} {{ caller is defined }}
{{ 'a'|upper|lower|title }} {{ ('a'|upper) ~ 'b' }} {{ 'a' ~ 'b'|upper }} {{ -1|abs }} {{ 1 + 2|string|length }} {{ 2 * 'ab'|length }}
{{ [1, 2] is sequence and [1] }} {{ 'a' in ['a'] and 'b' not in ['a'] }} {{ 1 if 'a' is string else 2 }}
{{ {'a': 1}.a.b.c is defined }}
{{ a.b.c is defined }}
{{ (a or {}).b is defined }} {{ (a or {}).get('b') is none }}
{{ messages|length - 1 }} {{ messages|length > 0 }} {{ (messages|length) % 2 == 0 }} {{ loop.index0 % 2 if loop is defined }}|
{{ messages[:-1]|length }} {{ messages[1:]|length }} {{ messages[::-1][0].role }} {{ (messages|list)[0].role }} {{ messages[messages|length - 1].role }}
{{ messages[0]['content'].split('</think>')[-1].strip() }} {{ messages[0].content is string }} {{ messages[0].content is mapping }} {{ messages[0].content is iterable }} {{ messages[0].content is sequence }}
{% for m in messages %}{% set content = m.content %}{% if '</think>' in content %}{% set r = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}[{{ r }}]{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}{{ content }}{% endfor %}
{% set t = '<|' ~ messages[0].role ~ '|>' %}{{ t }}{% set t = t|replace('|', '') %}{{ t }}
{% if messages[0].role == 'system' %}S{% elif messages[0]['role'] == 'user' %}U{% else %}N{% endif %}{% if not (messages|length > 5) %}few{% endif %}
{% if 1 %}a{% elif 2 %}b{% elif 3 %}c{% else %}d{% endif %}{% if 0 %}a{% elif 0 %}b{% endif %}{% if 1, 2 %}t{% endif %}
{% if messages %}{% for m in messages %}{% if loop.last %}{{ m.role }}{% endif %}{% endfor %}{% endif %}
{{ strftime_now('%Y-%m-%d')|length }} {{ strftime_now('') }}| {{ strftime_now('%d %b %Y')|length }}
{{ messages|batch(1)|map('first')|map(attribute='role')|list }} {{ messages|map(attribute='content')|map('trim')|map('length')|sum }}
{{ ['a', 'b']|map('upper')|join }} {{ {'a': {'b': [1, 2]}}.a.b[1] }} {{ [['x']][0][0] }} {{ {'a-b': 1}['a-b'] }}
{{ 'A' < 'a' }} {{ 'abc' < 'abd' }} {{ '' < 'a' }} {{ [] < [1] }} {{ (1, 2) < (1, 2, 3) }} {{ true < 2 }} {{ 1.5 < 2 }}
{{ 9007199254740993 == 9007199254740992.0 }} {{ 9007199254740993 > 9007199254740992.0 }} {{ 1e400 == 1e400 }}
{{ 'abc' is in ['abc'] }} {{ none in [none] }} {{ 1 in [1.0] }} {{ 'a' in {'a': 1} }} {{ [1] in [[1]] }} {{ 1 in (1, 2) }}
{{ 1 in 5 }}
{{ [] in {} }}
{{ 1;2 }}
{{ a b }}
{{ 1 + }}
{{ | }}
{{ }}
{{ 'a' is }}
{{ a.1.5 }}| {{ [[1, 2], [3, 4, 5, 6, 7, 8]].1.5 }}
{{ ! }}
{{ a ? b }}
{% for in [1] %}{% endfor %}
{% for x of [1] %}{% endfor %}
{% macro %}{% endmacro %}
{% set %}
{% if true %}a{% else %}b{% else %}c{% endif %}
{{ 'x'.join(messages|map(attribute='role')) }} {{ '\n'.join(['a', 'b']) }} {{ "\\n" }} {{ '\\' }}
""".strip().split("\n")

# Templates with line ends: blanks around tags, trim_blocks, lstrip_blocks, and line ends of all kinds.
MORE = [
    "{% for m in messages %}\n  {% if not loop.first %}\n  {{ m.role }}\n  {% endif %}\n{% endfor %}\nend\n\n",
    "line one\nline two {{ messages.foo.bar }}",
    "a\n{% if true %}\nb\n{% endif %}\nc\n",
    "a\n  {% if true %}  \n  b\n  {% endif %}\nc",
    "a\n  {%+ if true %}\n  b\n  {%+ endif +%}\nc",
    "a\n  {%- if true -%}\n  b\n  {%- endif -%}\n  c",
    "  {{ 1 }}\n  {{- 2 }}\n{{ 3 -}}\n  4\n",
    "  {# a #}  \n  b {# c #}\n{#- d -#}\n e{{ 1 }}",
    "{{ 'a\\\nb' }}",
    "{% set x = 1 %}\n{% set y = 2 %}\n\n{{ x }}{{ y }}\n",
    "{% set x %}\n  a\n  {% endset %}\n{{ x }}|",
    "\t {% if true %}\ta\t{% endif %}\t\n",
    "a {% if true %}\nb{% endif %}\n\nc",
    "x{% raw %}\n a {{ }} \n{% endraw %}\ny",
    "x\n  {% raw %}\n  a\n  {% endraw %}\n  y",
    "x\n  {%- raw -%}\n  a\n  {%- endraw -%}\n  y",
    "x {%+ raw %}\n  a\n  {%+ endraw +%}\n  y",
    "{% for i in [1, 2] %}\n{{ i }}\n{% endfor %}",
    "{% for i in [1, 2] -%}\n{{ i }}\n{%- endfor %}\n",
    "{{ 1 }}\n",
    "{{ 1 }}\n\n",
    "{{ 1 }}\r\n",
    "{{ 1 }}\r\n\r\n",
    "a\r\nb{{ 'c\\r\\nd' }}\re{{ 1 }}",
    "{{ 'a\r\nb' }}|{{ 'a\rb'|length }}",
    "{%- if true %}\r\n  a\r\n{%- endif %}\r\n{{ 1 }}",
    "\ufeff{{ 1 }}",
    "\ufeff  {% if true %}a{% endif %}",
    "\ufeff  {%- if true %}a{% endif %}",
    "a\u00a0{%- if true %}b{% endif -%}\u3000c",
    "a \x0b {% if true %}b{% endif %}",
    "{{ {\n'a':\n1} }}",
    "{{\n'a'\n~\n'b'\n}}",
    "{%\nif\ntrue\n%}a{%\nendif\n%}",
    "{%if true%}a{%endif%}{{1}}{{'a'}}",
    "{%-if true-%} a {%-endif-%}",
    "{{-1}}{{ -1}}{{- -1}}",
    "{{ 1-}} a {{-1 }}",
    "{{'a'-}}  b",
    "{% if true %}{# c #}\n{% endif %}x",
    "{# c\nd #}\n\nx{{ 1 }}",
    "a{{ 1 }}\n{% if true %}{% endif %}\n{{ 2 }}\n",
    "{% macro m() %}\n  a\n{% endmacro %}\n{{ m() }}|",
    "{% call m() %}\n{% endcall %}",
    "{{ 'a'\n'b' }}",
    "{{ '{{ x }}\n{% y %}' }}",
    "{{ 1 }}{% if true %}\n\n{% endif %}\n",
    "   {% set a = 1 %}   {% set b = 2 %}   \n{{ a }}",
    "{% filter trim %}\n a \n{% endfilter %}\n{{ 1 }}",
    "{% generation %}\na\n{% endgeneration %}\n{{ 1 }}",
    "{% if a %}\n  b\n{% else %}\n  c\n{% endif %}\nd{{ 1 }}",
    "a{% if true %}\r\nb\r{% endif %}c",
]

STRINGS = ["''", "'a'", "'abc abc'", "' a b '", "'A-b c'", "'12'", "'-3.5'", "'Éß ǆ'", "'a\\nb'", "'x=<y>'"]
VALUES = ["none", "true", "3", "-2", "2.5", "''", "'ab'", "[]", "[1, 2]", "(1,)", "{'a': 1}", "missing", "range(2)"]
TEXT_METHODS = (
    "capitalize() casefold() center(9) count('a') endswith('c') expandtabs() find('b') isalnum() isalpha() isascii() isdecimal() isdigit()"
    " isidentifier() islower() isnumeric() isprintable() isspace() istitle() isupper() join(['x','y']) ljust(5) lower() lstrip() partition('b')"
    " removeprefix('a') removesuffix('c') replace('a','Z') rfind('b') rjust(5) rpartition('b') rsplit() rsplit('b',1) rstrip() split() split('a')"
    " split('b',1) splitlines() startswith('a') strip() strip('a') swapcase() title() upper() zfill(4)"
).split(" ")
FILTERS = (
    "abs capitalize count d('x') default('x',true) e escape first float forceescape int join('-') last length list lower max min reverse"
    " reverse|list round safe sort string sum title tojson tojson(indent=1) trim unique|list upper urlencode wordcount batch(2)|list slice(2)|list"
    " items|list map('string')|list select|list reject|list dictsort center(7) indent truncate(5) replace('a','b') attr('x') first|string last|string"
).split(" ")
TESTS = (
    "boolean callable defined escaped even false float integer iterable lower mapping none number odd sequence string true undefined upper"
    " divisibleby(2) eq(3) in([3]) lt(3) ge('a') sameas(none)"
).split(" ")
OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", ">=", "in", "not in", "~", "and", "or"]
FLOATS = "0.0 1.0 -1.5 0.1 1e15 1e16 1.5e16 123456.789 1e-4 1e-5 9.999e-5 1e100 -1e-7 2.5 0.5 1.7976931348623157e308 0.3333333333333333".split(" ")
FORMATS = ["%d", "%5d|", "%-5d|", "%05d", "%+d", "%x", "%s", "%r", "%f", "%.2f", "%8.3f|", "%e", "%.1e", "%g", "%.3g", "%c"]
SPECS = ["{}", "{:5}|", "{:<5}|", "{:>5}|", "{:^5}|", "{:05}", "{:+}", "{:,}", "{:d}", "{:x}", "{:f}", "{:.1f}", "{:e}", "{:g}", "{:%}", "{:s}", "{:.1}"]


def products():
    """Templates with one combination each."""
    for text in STRINGS:
        yield from (f"{{{{ {text}.{method} }}}}" for method in TEXT_METHODS)
    for value in VALUES + ["'aB <c> d'", "[3, 1, 'x']", "['b', 'A']"]:
        yield from (f"{{{{ {value}|{name} }}}}" for name in FILTERS)
        yield from (f"{{{{ {value} is {test} }}}}" for test in TESTS)
    for left in VALUES:
        yield from (f"{{{{ {left} {operator} {right} }}}}" for operator in OPERATORS for right in VALUES)
    for value in FLOATS:
        yield f"{{{{ {value} }}}} {{{{ {value}|tojson }}}} {{{{ {value}|round(2) }}}} {{{{ {value} // 1 }}}} {{{{ {value} % 1 }}}}"
    for value in ["3", "-42", "2.5", "-0.25", "1234567", "'ab'", "none", "true", "[1]", "(1, 2)"]:
        yield from (f"{{{{ '{form}' % {value} }}}}" for form in FORMATS)
        yield from (f"{{{{ '{form}'.format({value}) }}}}" for form in SPECS)
    for start in ["", "0", "1", "-1", "-9", "9"]:
        for stop in ["", "0", "2", "-1", "9"]:
            yield from (f"{{{{ 'abcd'[{start}:{stop}:{step}] }}}}|{{{{ [1, 2, 3][{start}:{stop}:{step}] }}}}" for step in ["", "1", "2", "-1", "-2"])


def snippets():
    return LINES + MORE + list(products())
