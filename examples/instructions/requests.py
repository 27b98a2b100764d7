"""Everyday requests to an assistant, each a sentence or two without an instruction on its form."""

from collections.abc import Iterator, Sequence

# fmt: off
THINGS = (
    "a bicycle gear", "a refrigerator", "a lighthouse", "a thermos flask", "a vaccine",
    "a compass", "a piano", "a suspension bridge", "a solar panel", "an elevator",
    "a mortgage", "a compost heap", "a barcode scanner", "a hot air balloon", "a zip fastener",
    "a lock on a canal", "a pension", "a microwave oven", "a sailing boat", "a library loan",
    "a rain gauge", "a public election", "a fire extinguisher", "a greenhouse", "yeast",
    "a pair of glasses", "a smoke detector", "an insurance policy",
)
PURSUITS = (
    "learning to cook for one person", "keeping a houseplant alive", "sleeping better",
    "writing a first novel", "saving money on groceries", "moving to a new city",
    "training for a long run", "making friends as an adult", "preparing for an exam",
    "speaking in front of a crowd", "choosing a used car", "caring for an old dog",
    "asking for a raise", "organising a small kitchen", "planting tomatoes",
    "reading more books", "packing for a week of hiking", "sharing a flat",
    "photographing birds", "learning a language at home", "buying a winter coat",
    "staying calm in traffic", "teaching a child to swim", "repairing a torn shirt",
    "hosting a dinner party", "working from home", "cycling in the rain", "keeping a diary",
)
RECIPIENTS = (
    "a neighbour whose parcel I took in", "my landlord about a leaking tap",
    "a friend who has just become a father", "a colleague who is ill",
    "my teacher to thank her for the year", "a customer whose order is late",
    "my sister before her driving test", "the team after a lost match",
    "a cousin I have not seen for years", "a hotel about a forgotten umbrella",
    "my grandmother for her eightieth birthday", "a club that I would like to join",
    "a friend who moved abroad", "the parents of my pupils about a trip",
    "a musician whose concert I liked", "my boss about a day off",
    "a restaurant to reserve a table", "a volunteer who helped all weekend",
    "a gardener about a broken fence", "a new member of our choir",
    "my dentist about another date", "a stranger who found my keys",
)
SIGHTS = (
    "a thunderstorm over a lake", "a night train", "a street market", "fresh snow",
    "a desert at noon", "a beehive", "a harbour at dawn", "an old library", "a waterfall",
    "a crowded football stadium", "a walnut tree", "a foggy mountain pass", "a bakery at five",
    "a coral reef", "a village fair", "an autumn forest", "a blacksmith's workshop",
    "a rice field", "the northern lights", "a chess tournament", "a tidal island",
    "a spider's web", "a railway station at rush hour", "a glacier",
)
UNDERTAKINGS = (
    "adopting a cat", "renting a caravan", "visiting Iceland", "buying a piano",
    "going on a first date", "starting a blog", "baking sourdough bread", "joining a gym",
    "signing a lease", "climbing a volcano", "keeping chickens", "learning the violin",
    "taking a long flight", "painting a room", "donating blood", "riding a horse",
    "opening a small café", "camping in winter", "getting a tattoo", "running for mayor",
    "diving for the first time", "building a shed", "changing careers", "hiring a babysitter",
    "eating wild mushrooms", "crossing a border by car", "selling a house", "growing roses",
)
OBSERVATIONS = (
    "cats purr", "leaves change colour", "people yawn", "onions make us cry", "tides rise",
    "birds migrate", "old books smell", "stars twinkle", "rivers bend", "we dream",
    "bridges hum in the wind", "coins have ridges", "cities have parks", "ice cubes crack",
    "dogs bury bones", "bees dance", "people collect stamps", "deserts get cold at night",
    "bubbles burst", "languages change", "moths fly to lamps", "prices rise",
    "volcanoes erupt", "some songs stick in our heads", "we shake hands", "clocks tick",
)
VENTURES = (
    "a small bakery", "a chess club", "a rescue dog", "a sailing boat", "a jazz trio",
    "a bookshop by the sea", "a hiking group", "a science podcast", "a flower shop",
    "a rowing team", "a repair café", "a children's theatre", "a street food stall",
    "a neighbourhood newspaper", "a yoga studio", "a board game", "a robot that waters plants",
    "a mountain hut", "a choir", "a bicycle courier service", "a film festival",
    "a school garden",
)
TOPICS = (
    "the history of tea", "the moon", "medieval castles", "penguins", "the Olympic Games",
    "chocolate", "the invention of paper", "jazz music", "whales", "the Roman roads",
    "origami", "coffee plantations", "sign language", "honey", "glass making", "the Sahara",
    "traffic lights", "Shakespeare", "kites", "the number zero", "carnival", "salt",
    "the first telephone", "maps", "rainforests", "soap", "windmills", "the periodic table",
)
MATTERS = (
    "living in a big city", "owning a car", "school uniforms", "electric scooters",
    "eating out", "working at night", "having a twin", "reading on a screen",
    "travelling alone", "a four-day week", "zoos", "open-plan offices", "wood stoves",
    "online shopping", "keeping a parrot", "growing up on a farm", "learning chess early",
    "paying in cash", "long holidays", "homemade bread", "renting instead of buying",
    "public transport without fares", "daylight saving time", "tall buildings",
)
PLANS = (
    "an afternoon with two children", "a picnic for ten people", "a day trip to the coast",
    "a surprise birthday party", "a week of simple dinners", "a visit to a museum",
    "a spring clean of my flat", "a farewell for a colleague", "a small vegetable garden",
    "a book club's first evening", "a weekend without a phone", "a bicycle tour of three days",
    "a school reunion", "a charity run", "a barbecue in a park", "a move to another flat",
    "a quiet evening after a hard week", "a treasure hunt", "a family photo album",
    "a morning routine", "a film night", "a language exchange",
)
# fmt: on

FORMS: Sequence[tuple[Sequence[str], Sequence[str]]] = (
    (
        THINGS,
        (
            "Explain how {} works.",
            "Explain {} to a child.",
            "What can go wrong with {}?",
            "Describe {} as if you saw it for the first time.",
        ),
    ),
    (
        PURSUITS,
        (
            "Give me some advice on {}.",
            "How do I begin with {}?",
            "What do people get wrong when it comes to {}?",
            "What is the best thing about {}?",
            "What makes {} difficult?",
        ),
    ),
    (
        RECIPIENTS,
        (
            "Write a short message to {}.",
            "What should I say to {}?",
            "Begin an email to {}.",
        ),
    ),
    (
        SIGHTS,
        (
            "Describe {} to someone who has never seen it.",
            "What do you hear and smell at {}?",
            "Begin a story that takes place at {}.",
        ),
    ),
    (
        UNDERTAKINGS,
        (
            "What should I know before {}?",
            "What do I need for {}?",
            "What is {} like?",
            "Tell me about the risks of {}.",
        ),
    ),
    (
        OBSERVATIONS,
        (
            "Why do {}?",
            "A child asks me why {}. What do I answer?",
        ),
    ),
    (
        VENTURES,
        (
            "Suggest a name for {} and say why it fits.",
            "Write an advertisement for {}.",
            "How can I find the right people for {}?",
            "What would make {} special?",
        ),
    ),
    (
        TOPICS,
        (
            "Tell me something about {}.",
            "Why should children learn about {}?",
            "What do most people not know about {}?",
            "Recommend a way to learn more about {}.",
        ),
    ),
    (
        MATTERS,
        (
            "What are the pros and cons of {}?",
            "What speaks for {}?",
            "What speaks against {}?",
            "How do people differ in what they think of {}?",
        ),
    ),
    (
        PLANS,
        (
            "Help me plan {}.",
            "What could spoil {}?",
            "Write an invitation for {}.",
        ),
    ),
)
"""What can be asked about the subjects of each list."""


def requests() -> Iterator[str]:
    """Every request once: each subject in each of its forms."""
    for subjects, forms in FORMS:
        for form in forms:
            for subject in subjects:
                yield form.format(subject)
