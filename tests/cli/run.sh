#!/bin/sh
# pare logits, run, chat and eval on the embedded model: run.sh PARE SOURCE_FOLDER
set -u
pare=$1
model=$2/models/ref-llama-11m
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failures=0

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# expect CODE PATTERN COMMAND...: the exit code, and a line of the output (both streams) that matches
expect() {
    code=$1 pattern=$2
    shift 2
    "$@" >"$work/out" 2>&1 </dev/null
    got=$?
    [ "$got" -eq "$code" ] || fail "exit code $got instead of $code: $*"
    grep -q -e "$pattern" "$work/out" || { fail "no '$pattern' in the output of: $*"; head -3 "$work/out"; }
}

same() {
    cmp -s "$1" "$2" || fail "$3"
}

# ---- run ----
prompt="In 1945 , the"
"$pare" run "$model" "$prompt" -n 40 -q >"$work/text" || fail "run"
grep -q "film was released on DVD by the American Film Institute" "$work/text" || fail "the greedy text is another"
"$pare" run "$model" "$prompt" -n 40 -q -t 1 >"$work/one" && same "$work/text" "$work/one" "1 thread gives another text"
"$pare" run "$model" "$prompt" -n 40 -q --kv-cache off >"$work/none" && same "$work/text" "$work/none" "the cache changes the text"
expect 0 '"ended_by":"limit"' "$pare" run "$model" "$prompt" -n 5 --json
expect 0 '"prompt_ids":\[1,1421,5211,1289,1264\]' "$pare" run "$model" "$prompt" -n 5 --json
expect 0 '"ids":\[1923,1321,2220,1331,7069\]' "$pare" run "$model" --ids 1,1421,5211,1289,1264 -n 5 --json
expect 0 '"logprobs":\[-' "$pare" run "$model" "$prompt" -n 5 --json --logprobs
expect 0 '"ended_by":"context"' "$pare" run "$model" "$prompt" -n 50 --context 16 --json --ignore-eos

long=$(yes the river | head -2000 | tr '\n' ' ')
expect 1 "the model was made for 1024" "$pare" run "$model" "$long" -n 2
expect 0 "note: the model was made for 1024" "$pare" run "$model" "$prompt" -n 2 --context 2000

# a stop string in the middle of tokens is never shown, not even its beginning
"$pare" run "$model" "$prompt" -n 40 -q --stop "merican Fi" --stop "never" >"$work/stopped"
printf 'film was released on DVD by the A\n' >"$work/expected"
same "$work/stopped" "$work/expected" "text in front of a stop string"
expect 0 '"ended_by":"stop"' "$pare" run "$model" "$prompt" -n 40 --json --stop "DVD by"

for seed in 1 2; do
    "$pare" run "$model" "$prompt" -n 30 -q --temp 1 --top-k 50 --top-p 0.9 --seed $seed >"$work/seed$seed"
    "$pare" run "$model" "$prompt" -n 30 -q --temp 1 --top-k 50 --top-p 0.9 --seed $seed | cmp -s - "$work/seed$seed" ||
        fail "seed $seed gives two texts"
done
cmp -s "$work/seed1" "$work/seed2" && fail "two seeds give one text"
expect 0 '"ids":\[77,77,77\]' "$pare" run "$model" "$prompt" -n 3 --json --logit-bias 77=1000

expect 2 "give a MODEL and a PROMPT" "$pare" run "$model"
expect 2 "temperature -1" "$pare" run "$model" x --temp -1
expect 2 "logit-bias" "$pare" run "$model" x --logit-bias 5
expect 2 "kv-type" "$pare" run "$model" x --kv-type q9
expect 2 "outside the vocabulary" "$pare" run "$model" --ids 1,99999
expect 1 "no-such-model" "$pare" run "$work/no-such-model" x

# ---- chat ----
expect 1 "no chat template" "$pare" chat "$model"
mkdir "$work/chat" && ln -s "$model"/* "$work/chat/"
printf '{"chat_template": "{%% for m in messages %%}{{ m.role }} : {{ m.content }}\\n{%% endfor %%}"}' >"$work/chat/tokenizer_config.json"
printf 'first\n\n/reset\nJ\303\266rg \377 says\n/exit\nnever\n' | "$pare" chat "$work/chat" -n 4 --temp 0 -q --json >"$work/answers" || fail "chat"
[ "$(grep -c '"ended_by":"limit"' "$work/answers")" -eq 2 ] || fail "two messages, two answers"
printf 'first\n' | "$pare" chat "$work/chat" -n 4 --temp 0 -q >"$work/plain" || fail "chat"
[ "$(wc -l <"$work/plain")" -ge 1 ] || fail "an answer as text"
printf 'first , second , third , fourth\n' | "$pare" chat "$work/chat" --context 4 -q >"$work/plain" 2>&1 && fail "a full context is no success"
grep -q "context of 4 tokens is full" "$work/plain" || fail "a full context is not told"

# ---- logits ----
"$pare" logits "$model" --ids 1,1421,5211 -o "$work/all.f32" -q && "$pare" logits "$model" --ids 1,1421,5211 --last -o "$work/last.f32" -q
[ "$(wc -c <"$work/all.f32")" -eq $((3 * 8192 * 4)) ] || fail "size of the logits"
tail -c $((8192 * 4)) "$work/all.f32" >"$work/tail.f32"
same "$work/last.f32" "$work/tail.f32" "--last is not the last row"
printf '\001\000\000\000\215\005\000\000\133\024\000\000' >"$work/ids.i32"
"$pare" logits "$model" --ids-file "$work/ids.i32" -o - >"$work/file.f32"
same "$work/all.f32" "$work/file.f32" "ids from a file"
expect 1 "" "$pare" logits "$model" --ids 1 -o "$work/no/such/folder.f32"
[ -z "$(ls "$work" | grep tmp-)" ] || fail "a temporary file was left"

# ---- eval ----
printf ' \n = A title = \n \n The history of the city is the history of the river . The city was founded in the year 1200 \n' >"$work/wiki"
for key in perplexity perplexity_se mean_nll tokens context stride protocol windows activations isa kld_mean kld_se kld_p99 top1 \
    perplexity_ratio perplexity_ratio_se base_perplexity; do
    expect 0 "\"$key\":" "$pare" eval "$model" --against "$model" --text "$work/wiki" --wikitext --context 8 --json
done
expect 0 '"kld_mean":0.0,' "$pare" eval "$model" --against "$model" --text "$work/wiki" --context 8 --json
expect 0 'protocol stride, context 16, stride 4' "$pare" eval "$model" --text "$work/wiki" --protocol stride --context 16 --stride 4
expect 0 'BOS in front' "$pare" eval "$model" --text "$work/wiki" --protocol llama.cpp --context 8
expect 0 '"bos":null' "$pare" eval "$model" --text "$work/wiki" --protocol llama.cpp --context 8 --no-bos --json
expect 0 'BOS in front' "$pare" eval "$model" --ids-file "$work/ids.i32" --protocol llama.cpp --context 3
expect 2 "go with --protocol llama.cpp" "$pare" eval "$model" --text "$work/wiki" --context 8 --no-bos
mkdir "$work/bare" && ln -s "$model"/*.json "$model"/*.safetensors "$work/bare/" && rm "$work/bare/tokenizer.json"
expect 1 "tokenizer" "$pare" eval "$work/bare" --text "$work/wiki" --context 8
expect 0 '"kld_mean":0.0,' "$pare" eval "$work/bare" --against "$model" --text "$work/wiki" --context 8 --json
expect 2 "protocol" "$pare" eval "$model" --text "$work/wiki" --protocol other
expect 2 "a window of 1024 is longer" "$pare" eval "$model" --text "$work/wiki"
expect 2 "give --text, --ids-file or --generate" "$pare" eval "$model"

[ "$failures" -eq 0 ] && echo "all passed"
exit "$((failures > 0))"
