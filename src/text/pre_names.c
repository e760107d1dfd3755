/* The names that tokenizer.ggml.pre takes: for each the regular expressions that split a text, one
 * after the other. */
#include "text/tokenizer.h"

#include <string.h>

/* clang-format off */
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define CONTRACTIONS "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define TAIL "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
/* Llama 3's, with its rule for digits. */
#define LLAMA3(digits)                                                                                                  \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" TAIL
/* GPT-4o's: words end where lower case turns to upper case. */
#define CASED(contractions, digits)                                                                                     \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+" contractions            \
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*" contractions           \
    "|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" TAIL
#define DEEPSEEK3_WORDS                                                                                                 \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"                 \
    "| ?[\\p{P}\\p{S}]+[\\r\\n]*|" TAIL
#define DEEPSEEK_LETTERS                                                                                                \
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼ"         \
    "ℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+"

/* Sets of expressions that several names share. */
#define LLAMA3_STEPS {LLAMA3("\\p{N}{1,3}")}
#define QWEN2_STEPS {LLAMA3("\\p{N}")}
#define GPT2_STEPS {GPT2}
#define DIGITS_GPT2_STEPS {"\\p{N}", GPT2}
#define GPT4O_STEPS {CASED(CONTRACTIONS "?", "\\p{N}{1,3}")}
#define BLOOM_STEPS {" ?[^(\\s|.,!?…。，、।۔،)]+"}
#define DEEPSEEK3_STEPS {"\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3_WORDS}
#define BAILING_STEPS                                                                                                   \
    {"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"    \
     "|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"}

static const pare_pre names[] = {
    {"default", {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, false, false},
    {"llama3", LLAMA3_STEPS, true, true},
    {"llama-v3", LLAMA3_STEPS, true, true},
    {"llama-bpe", LLAMA3_STEPS, true, true},
    {"falcon3", LLAMA3_STEPS, true, true},
    {"falcon-h1", LLAMA3_STEPS, true, true},
    {"pixtral", LLAMA3_STEPS, true, true},
    {"midm-2.0", LLAMA3_STEPS, true, true},
    {"lfm2", LLAMA3_STEPS, true, true},
    {"dbrx", LLAMA3_STEPS, false, false},
    {"smaug-bpe", LLAMA3_STEPS, false, false},
    {"glm4", LLAMA3_STEPS, false, false},
    {"chatglm-bpe", LLAMA3_STEPS, false, false},
    {"qwen2", QWEN2_STEPS, false, false},
    {"deepseek-r1-qwen", QWEN2_STEPS, false, false},
    {"megrez", QWEN2_STEPS, false, false},
    {"stablelm2", QWEN2_STEPS, false, false},
    {"hunyuan", QWEN2_STEPS, false, false},
    {"solar-open", QWEN2_STEPS, false, false},
    {"grok-2", QWEN2_STEPS, false, false},
    {"kormo", QWEN2_STEPS, false, false},
    {"qwen35", {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" TAIL},
     false, false},
    {"seed-coder", {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" TAIL}, false, false},
    {"gpt-2", GPT2_STEPS, false, false},
    {"phi-2", GPT2_STEPS, false, false},
    {"jina-es", GPT2_STEPS, false, false},
    {"jina-de", GPT2_STEPS, false, false},
    {"jina-v2-es", GPT2_STEPS, false, false},
    {"jina-v2-de", GPT2_STEPS, false, false},
    {"gigachat", GPT2_STEPS, false, false},
    {"a.x-4.0", GPT2_STEPS, false, false},
    {"mellum", GPT2_STEPS, false, false},
    {"modern-bert", GPT2_STEPS, false, false},
    {"roberta-bpe", GPT2_STEPS, false, false},
    {"exaone4", GPT2_STEPS, false, false},
    {"mpt", GPT2_STEPS, false, false},
    {"olmo", GPT2_STEPS, false, false},
    {"jais", GPT2_STEPS, false, false},
    {"trillion", GPT2_STEPS, false, false},
    {"granite-docling", GPT2_STEPS, false, false},
    {"starcoder", DIGITS_GPT2_STEPS, false, false},
    {"refact", DIGITS_GPT2_STEPS, false, false},
    {"command-r", DIGITS_GPT2_STEPS, false, false},
    {"smollm", DIGITS_GPT2_STEPS, false, false},
    {"codeshell", DIGITS_GPT2_STEPS, false, false},
    {"exaone", DIGITS_GPT2_STEPS, false, false},
    {"minerva-7b", DIGITS_GPT2_STEPS, false, false},
    {"falcon", {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}, false, false},
    {"deepseek-llm",
     {"[\\r\\n]", DEEPSEEK_LETTERS, "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "\\s+\\z", "[一-龥ࠀ-一가-퟿]+", "\\p{N}+"},
     false, false},
    {"deepseek-coder", {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+", "\\p{N}"}, false, false},
    {"deepseek-v3", DEEPSEEK3_STEPS, false, false},
    {"hunyuan-dense", DEEPSEEK3_STEPS, false, false},
    {"joyai-llm", DEEPSEEK3_STEPS, false, false},
    {"tekken", {CASED("", "\\p{N}")}, true, true},
    {"gpt-4o", GPT4O_STEPS, false, false},
    {"llama4", GPT4O_STEPS, false, false},
    {"kanana2", GPT4O_STEPS, false, false},
    {"minimax-m2", GPT4O_STEPS, false, false},
    {"poro-chat", BLOOM_STEPS, false, false},
    {"bloom", BLOOM_STEPS, false, false},
    {"gpt3-finnish", BLOOM_STEPS, false, false},
    {"viking", {" ?[^(\\s|.,!?…。，、।۔،)]+", "\\p{N}"}, false, false},
    {"bailingmoe", BAILING_STEPS, false, false},
    {"bailingmoe2", BAILING_STEPS, false, false},
    {"llada-moe", BAILING_STEPS, false, false},
};
/* clang-format on */

const pare_pre *pare_pre_find(const char *name, size_t length)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i].name) == length && memcmp(names[i].name, name, length) == 0)
            return &names[i];
    return NULL;
}
