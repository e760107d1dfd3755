/* The prompts of the text score. Written for Pare; from everyday registers that models of all sizes
 * have seen: narration, explanation, instruction, news, dialogue, description, argument, list. */
#include "eval/generate.h"

const char *const pare_generate_prompts[PARE_GENERATE_PROMPTS] = {
    "The old lighthouse keeper climbed the stairs every evening, because",
    "Water boils at a lower temperature on a mountain. The reason is that",
    "To plant a tree, first dig a hole that is twice as wide as the roots. Then",
    "The city council met on Tuesday to discuss the new bridge. Several residents",
    "\"Where have you been all day?\" asked his sister. He put down his bag and",
    "The market opens at six in the morning. By seven, the narrow street is full of",
    "Some people say that machines will never understand language. Others believe that",
    "There are three things to pack for a winter hike:",
    "In the early years of the railway, a journey between the two towns took",
    "The recipe is simple. Melt the butter in a pan, add the flour and",
    "When the team returned to the laboratory after the holidays, they found that",
    "My grandmother kept every letter she ever received. One of them began with",
    "The heart pumps blood through the body. When a person runs, it",
    "After losing the first four games of the season, the players decided to",
    "A good map does not show everything. It shows",
    "The river had been low all summer, and the farmers in the valley",
};
