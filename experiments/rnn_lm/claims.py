"""The claims. All thresholds but that of 5h were fixed before the first run; README.md says where they come from."""

from experiments.rnn_lm.costs import LENGTHS, MANY_WORDS, WORDS
from experiments.rnn_lm.measures import (
    change_over_spread,
    difference_of_reach,
    difference_of_rises,
    distance,
    excess_over_bound,
    greatest_coefficient,
    greatest_exploded_norm,
    growth,
    hand_derived_error,
    least_coefficient,
    least_lead_over_sigmoid,
    perplexity_excess,
    rise,
    samples_over_text,
    saved_by_clipping,
    slope_difference,
    speed_ratio,
)
from experiments.rnn_lm.speed import TIMED_LENGTHS
from reporting.claims import EXACT, claim, examined

CLAIMS = [
    claim(
        "1a",
        "The uniform model over 10,000 words has a perplexity of 10,000: distance from it",
        distance("uniform_perplexity", 10_000),
        of="exact",
        at_most=1e-6,
    ),
    claim(
        "1b",
        "The uniform model over 10,000 words has a cross-entropy of 9.2103 nats: distance from it",
        distance("uniform_nats", 9.2103),
        of="exact",
        at_most=5e-5,
    ),
    claim(
        "1c",
        "Perplexity, the geometric mean of 1/p, is exp(mean cross-entropy): relative error",
        examined("identity_error"),
        of="exact",
        at_most=EXACT,
    ),
    claim(
        "1d",
        "Perplexity and cross-entropy order models alike: share of pairs of models",
        examined("order"),
        of="exact",
        at_least=1.0,
    ),
    claim(
        "1e",
        "Perplexity and cross-entropy have gradients of one direction: 1 - cosine",
        examined("direction_error"),
        of="exact",
        at_most=EXACT,
    ),
    claim(
        "2a",
        "Nine hand-derived gradients of a step of the trained sigmoid network are those of automatic differentiation: "
        "largest error in float64",
        hand_derived_error("now"),
        of="elman_sigmoid",
        at_most=EXACT,
    ),
    claim(
        "2b",
        "Six hand-derived gradients of the trained sigmoid network, one step back in time, are those of automatic "
        "differentiation: largest error in float64",
        hand_derived_error("back"),
        of="elman_sigmoid",
        at_most=EXACT,
    ),
    claim(
        "2c",
        "Hand-derived gradients of the trained sigmoid network with respect to weights that two steps share, summed "
        "over both, are those of automatic differentiation: largest error in float64",
        hand_derived_error("both"),
        of="elman_sigmoid",
        at_most=EXACT,
    ),
    claim(
        "3a",
        "A step of backpropagation with V words, F units and embeddings of width D takes a V F + b F^2 + c F D "
        "operations and lower terms: relative error of the fit",
        examined("terms_error"),
        of="exact",
        at_most=1e-3,
    ),
    claim(
        "3b",
        "A step of backpropagation takes 6 operations a weight of each matrix, 2 forwards and 4 backwards: least over "
        "the matrices",
        least_coefficient,
        of="exact",
        at_least=5.99,
    ),
    claim(
        "3c",
        "A step of backpropagation takes 6 operations a weight of each matrix, 2 forwards and 4 backwards: greatest "
        "over the matrices",
        greatest_coefficient,
        of="exact",
        at_most=6.01,
    ),
    claim(
        "3d",
        "Backpropagation through T steps takes O(T) operations: exponent of T",
        growth("at_once", LENGTHS),
        of="exact",
        at_least=0.98,
        at_most=1.02,
    ),
    claim(
        "3e",
        "Backpropagation of each of T losses by itself would take O(T^2) operations: exponent of T",
        growth("one_by_one", LENGTHS),
        of="exact",
        at_least=1.8,
    ),
    claim(
        "3f",
        "Backpropagation through T steps takes a wall time of O(T): exponent of T",
        growth("seconds", TIMED_LENGTHS),
        of="speed",
        at_most=1.2,
    ),
    claim(
        "3g",
        "The softmax over 10,000 words takes most operations of a step of an LSTM of 2 layers of 200: its share",
        examined("softmax_shares", 0),
        of="exact",
        above=0.5,
    ),
    claim(
        "4a",
        "The adaptive softmax trains faster than the full one at 33,278 words: ratio of tokens/s",
        speed_ratio(MANY_WORDS, "adaptive", "full"),
        of="speed",
        at_least=5.0,
    ),
    claim(
        "4b",
        "Training with the adaptive softmax at 10,000 words is nearly as fast as without a softmax: ratio of tokens/s",
        speed_ratio(WORDS, "adaptive", "none"),
        of="speed",
        at_least=0.6,
    ),
    claim(
        "4c",
        "Training without a softmax is faster than with the full one at 10,000 words: ratio of tokens/s",
        speed_ratio(WORDS, "none", "full"),
        of="speed",
    ),
    claim(
        "4d",
        "The adaptive softmax at 10,000 words is hardly worse than the full one: ratio of exact perplexities, minus 1",
        perplexity_excess,
        of=("adaptive_words", "words"),
        at_most=0.05,
    ),
    claim(
        "4e",
        "The sampled softmax trains faster than the full one at 33,278 words: ratio of tokens/s",
        speed_ratio(MANY_WORDS, "sampled", "full"),
        of="speed",
    ),
    claim(
        "4f",
        "The sampled softmax at 10,000 words costs perplexity against the full one: ratio of exact perplexities, "
        "minus 1",
        perplexity_excess,
        of=("sampled_words", "words"),
    ),
    claim(
        "5a",
        "Before training, the Jacobian-product bound of gradients holds: greatest excess of a log-norm over it",
        excess_over_bound,
        of="start",
        at_most=1e-3,
    ),
    claim(
        "5b",
        "Before training, the sigmoid network's gradient vanishes fastest: least slope of another network's log-norm "
        "per step back minus the sigmoid network's",
        least_lead_over_sigmoid,
        of="start",
        above=0.0,
    ),
    claim(
        "5c",
        "Before training, an LSTM's gradient reaches farther with forget bias 1 than with 0: slope of the gradient's "
        "log-norm per step back, with 1 minus with 0",
        slope_difference("LSTM, forget bias 1", "LSTM, forget bias 0"),
        of="start",
        at_least=0.1,
    ),
    claim(
        "5d",
        "Before training, an LSTM's gradient reaches farther with forget bias 3 than with 1: slope of the gradient's "
        "log-norm per step back, with 3 minus with 1",
        slope_difference("LSTM, forget bias 3", "LSTM, forget bias 1"),
        of="start",
        at_least=0.1,
    ),
    claim(
        "5e",
        "Before training, an LSTM's gradient with forget bias 0 vanishes sooner than a tanh network's: slope of the "
        "gradient's log-norm per step back, tanh network minus LSTM",
        slope_difference("Elman, tanh", "LSTM, forget bias 0"),
        of="start",
        above=0.0,
    ),
    claim(
        "5f",
        "Gradients of a tanh network with doubled recurrent weights explode in training at learning rate 0.5: "
        "greatest norm without clipping",
        greatest_exploded_norm,
        of="start",
        at_least=10.0,
    ),
    claim(
        "5g",
        "Clipping saves the training of a tanh network with doubled recurrent weights at learning rate 0.5: loss at "
        "the end without clipping minus with it (nats)",
        saved_by_clipping(0.5),
        of="start",
        at_least=0.5,
    ),
    claim(
        "5h",
        "Clipping saves the training of a tanh network with doubled recurrent weights at learning rate 8 (stated "
        "after 5g had failed): loss at the end without clipping minus with it (nats; at most 100)",
        saved_by_clipping(8.0),
        of="start",
        at_least=0.5,
    ),
    claim(
        "5i",
        "After training, the LSTM's gradient reaches farther back than the sigmoid network's: steps back until 1 % "
        "of its norm is left, LSTM minus sigmoid",
        difference_of_reach,
        of=("lstm", "elman_sigmoid"),
        above=0.0,
    ),
    claim(
        "6a",
        "Position embeddings change the LSTM's perplexity no more than the seed does: change of the mean over the "
        "spread of seeds",
        change_over_spread,
        of=("positions", "lstm"),
        at_most=1.0,
    ),
    claim(
        "6b",
        "Position embeddings change the LSTM's perplexity: perplexity with them over that without, minus 1",
        perplexity_excess,
        of=("positions", "lstm"),
    ),
    claim(
        "7a",
        "Fed true tokens, the LSTM's loss does not rise with position: late loss minus early loss (nats)",
        rise("forced"),
        of="lstm",
        at_most=0.05,
    ),
    claim(
        "7b",
        "Fed its own samples, the LSTM's loss on the true text rises with position: late loss minus early loss (nats)",
        rise("own"),
        of="lstm",
        at_least=0.5,
    ),
    claim(
        "7c",
        "Scheduled sampling changes how much the LSTM's loss on the true text rises when it is fed its own samples: "
        "rise with scheduled sampling minus without (nats)",
        difference_of_rises,
        of=("scheduled", "lstm"),
    ),
    claim(
        "7d",
        "Scheduled sampling changes the LSTM's perplexity when it is fed true tokens: perplexity with scheduled "
        "sampling over that without it, minus 1",
        perplexity_excess,
        of=("scheduled", "lstm"),
    ),
    claim(
        "7e",
        "The LSTM's samples do not get worse with position: late loss minus early loss under a 5-gram judge (nats)",
        rise("judged/own"),
        of="lstm",
    ),
    claim(
        "7f",
        "The LSTM's late samples are less likely than the true text: loss under a 5-gram judge minus the text's (nats "
        "a token)",
        samples_over_text,
        of="lstm",
    ),
]
