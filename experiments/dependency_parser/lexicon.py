"""The words of the generated treebank: each has a tag and, within the tag, a kind, such as person or tool.

A word has one form, as in a language without inflection, so many forms are nouns and verbs alike, or prepositions and
subordinating conjunctions. Within a kind the probability falls with the rank, as in Zipf's law but faster, so that
a text is mostly of words that training shows often; the tail is of made words, many of which a parser never sees in
training. A word has one kind a tag: form and tag together say which.
"""

from functools import cache
from itertools import product

from experiments.dependency_parser.preferences import PREPOSITIONS

WORDS = {
    "NOUN": {
        "person": """man judge cook guide child friend guard teacher woman boy girl coach doctor student neighbor farmer
            king queen driver nurse artist writer singer soldier lawyer uncle aunt brother sister mother father baby
            guest visitor pilot clerk captain host model scout spy page butcher baker hunter dancer poet witness
            boss""",
        "animal": """dog fish cat duck horse fly bird bear cow sheep goat pig hen mouse rat fox wolf lion tiger monkey
            rabbit deer frog snake bee ant crow hawk swan goose lamb donkey camel whale seal crab snail worm spider bug
            ram badger hound parrot beaver""",
        "place": """house park garden shop stage school city farm town village field street road river lake sea beach
            hill forest kitchen room office market camp station church hospital library museum hotel bridge island
            valley harbor square yard cellar tower castle court bank hall dock cave coast desert""",
        "time": """day night morning evening week month year hour minute moment spring summer winter autumn weekend
            second noon dawn dusk century season sunday monday friday holiday afternoon midnight decade""",
        "tool": """hammer knife saw brush fork spoon nail drill stick rope telescope key pen axe needle shovel rake net
            hook ladder camera lens lamp torch pump pencil broom wrench chisel file plow comb razor screw clamp whip
            spear shield sword hose mop iron lever""",
        "food": """bread butter apple salt water toast cheese soup roast rice cake meat milk salad pie sauce egg bean
            onion potato tomato pepper sugar honey jam tea coffee juice wine beer lemon orange pear plum cherry nut corn
            carrot pasta pizza sandwich stew snack cream cabbage""",
        "text": """book report letter note film story play song record poem paper review article message map list card
            picture novel diary essay speech news email sign label movie photo drawing poster ticket bill contract
            script quote print copy sketch draft study""",
        "event": """party race visit plan walk fight meeting wedding war game dance talk lesson trip journey concert
            election storm fire accident problem idea search strike trial vote debate test exam tour march deal crime
            change attack sale dream work job match show battle festival funeral start chat""",
        "object": """box table bottle chair bag basket cup plate hat coat shirt shoe dress ring bed door window wall
            floor roof desk shelf drawer car boat ship train wheel ball toy clock mirror blanket pillow curtain carpet
            bucket barrel pot pan jar tray coin stone brick bell candle umbrella glove scarf belt can""",
    },
    "PROPN": {
        "name": """Anna Tom Maria Peter John Mary Paul Lucy Sam Emma Jack Rose Mark Grace Frank Bill Clara David Ella
            Felix Gina Henry Ida Jonas Kate Leo Mia Nora Oscar Pam Quentin Ruth Simon Tina Victor Wanda""",
        "city": """Paris London Rome Berlin Madrid Vienna Oslo Lisbon Athens Prague Dublin Cairo Delhi Tokyo Lima Quito
            Boston Chicago Toronto Sydney Warsaw Zurich Geneva Munich Naples""",
    },
    "VERB": {
        "motion": """walk go run race march come fly travel return arrive ride drive sail climb swim hurry rush escape
            wander crawl creep tour drift step jump leap head turn sprint jog trot hike roam stroll fall""",
        "rest": """work play sleep dance wait dream live stay laugh sit stand rest cry smile die remain camp sing shine
            nap relax hide linger doze struggle suffer breathe grin shiver stop pause duck""",
        "eat": """cook eat taste roast drink toast butter salt bake fry boil chew swallow serve stew devour grill smoke
            season sip munch pepper juice fork spoon""",
        "cut": """hammer cut open saw brush fix paint clean nail dry drill warm break hit wash repair kill hook dig comb
            chop carve polish iron file scratch smash crush sweep wipe screw plow rake strike clamp rope""",
        "see": """visit see judge guard watch guide fight find fish film coach meet love hate hear help follow like miss
            notice attack chase catch study observe admire remember fear greet hunt spot nurse host spy bug scout""",
        "put": """place put bring box bottle carry take drop throw push pull leave hang store lay drag lift load pack
            set pour dump plant stick bury haul fetch pile stack spread toss shelf bag net""",
        "give": """give send show offer hand sell lend pay pass deal grant feed mail award owe deliver present loan card
            ship ticket""",
        "say": """report note say think know believe hope feel guess claim deny admit suppose doubt declare state swear
            imagine announce conclude suspect realize sign""",
        "tell": """tell message remind bill warn inform convince assure persuade notify advise teach promise""",
        "want": """plan want try need decide refuse begin start learn manage fail intend wish forget attempt prefer
            hesitate decline""",
        "talk": """talk speak joke chat debate argue lie boast whisper shout gossip quarrel vote reply preach rant""",
        "write": """write book review record read copy print buy draw make list publish finish edit translate design
            produce order quote sketch draft compose map label script test""",
    },
    "ADJ": {
        "quality": """big small old new good light open cold bad red blue green white black long short young clean warm
            heavy dark hot dry wet empty slow quick fast hard soft rich poor strong weak cheap quiet loud round flat
            sharp calm cool fresh sweet deep high low wide thin thick plain rough smooth strange famous wooden golden
            square orange pretty bright dull smart present""",
        "feeling": """happy sad angry afraid proud glad tired jealous nervous curious excited worried eager hungry
            lonely sorry content ready mad upset grateful anxious ashamed confident""",
    },
    "ADV": {
        "manner": """often slowly today again soon always never now then here there quickly together well hard fast
            early late yesterday tomorrow already carefully once twice away quietly suddenly sometimes usually finally
            outside inside upstairs alone perhaps still just before""",
        "degree": "very quite too so rather really extremely fairly pretty almost",
    },
    "PRON": {
        "subject": "he she they I we",
        "object": "him her them me us",
        "neutral": "it you someone everything nobody one",
        "relative": "that who which",
    },
    "DET": {"article": "the a this that some every my his her no our each another any"},
    "NUM": {"number": "two three one four ten five six twenty seven hundred eight nine"},
    "AUX": {"modal": "will can must may should did have could need would", "be": "is was be"},
    "ADP": {preposition: preposition for preposition in PREPOSITIONS},
    "CCONJ": {"conjunction": "and or but"},
    "SCONJ": {"that": "that", "adverbial": "when because if while before after since although until so"},
    "PART": {"to": "to", "not": "not"},
    "PUNCT": {"comma": ",", "period": ". ! ?"},
    "INTJ": {"interjection": "yes no well oh hello please wow"},
}
# How many made words follow the real ones of a kind.
MADE_WORDS = {"NOUN": 300, "VERB": 120, "ADJ": 200, "PROPN": 300}
ZIPF_EXPONENT, ZIPF_SHIFT = 2.0, 2.0  # the probability of the word of rank r falls as (r + shift) ** -exponent

# Made words are of one onset, vowel and end each; their shape does not tell their tag.
ONSETS = "b bl br d dr f fl g gr k kl kr l m n p pl pr r s sk sl sp st t tr v w z"
VOWELS = "a e i o u ee oo ai"
ENDS = "nd lt lk sk st rn rl lf lm lo no ra vel"


@cache
def lexicon():
    """The words {(tag, kind): {form: probability}}; the probabilities of a kind sum to 1."""
    return {
        (tag, kind): zipf_probabilities(dict.fromkeys(words.split() + made_words(tag, number)))
        for tag, kinds in WORDS.items()
        for number, (kind, words) in enumerate(kinds.items())
    }


def zipf_probabilities(forms):
    """{form: probability} of forms given from the commonest to the rarest."""
    weights = [(rank + ZIPF_SHIFT) ** -ZIPF_EXPONENT for rank in range(len(forms))]
    return {form: weight / sum(weights) for form, weight in zip(forms, weights, strict=True)}


def made_words(tag, kind_number):
    """The made words of a tag's kind of that number; most of those of verbs and adjectives are nouns too."""
    count = MADE_WORDS.get(tag, 0)
    stems = list_stems()[kind_number * count : (kind_number + 1) * count]
    return [stem.capitalize() for stem in stems] if tag == "PROPN" else stems


@cache
def list_stems():
    """All made words that are no word of ``WORDS``, in an order that puts unlike ones side by side."""
    real = {form for kinds in WORDS.values() for words in kinds.values() for form in words.lower().split()}
    stems = ["".join(parts) for parts in product(ONSETS.split(), VOWELS.split(), ENDS.split())]
    step = 1327  # prime to their number: every stem comes once
    return [stem for n in range(len(stems)) if (stem := stems[n * step % len(stems)]) not in real]
