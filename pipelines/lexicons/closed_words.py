"""Words of which a language has few: they negate, count, date, and tie others together."""

from __future__ import annotations

_NEGATORS = """
    no not never none nobody nothing neither nor nowhere without hardly barely scarcely seldom
    rarely cannot cant can't wont won't dont don't lack lacks lacking fail fails failed failure
    refuse deny avoid stop unless except instead against few little less least more most too
    only nicht kein keine keinen keiner nie niemals nichts ohne weder pas jamais rien aucun
    aucune sans ne nunca jamás nada nadie ningún ninguna sin não nem nenhum nenhuma sem non mai
    niente nessuno senza niet geen nooit zonder нет не ни никогда без nie bez inte aldrig ingen
    utan ikke aldri
"""
_NUMBERS = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty
    ninety hundred thousand million billion trillion dozen half third quarter twice thrice once
    first second fourth fifth sixth seventh eighth ninth tenth last next single double triple
    both pair couple
"""
_FUNCTION_WORDS = """
    far even ever yet only
    take takes took taken taking come comes came coming go goes went gone going make makes made
    making give gives gave given giving bring brings brought get gets got getting keep keeps kept
    hold holds held put puts set sets turn turns let lets run runs ran goes has having
    a about above across after again all also although always am among an and another any
    anybody anyone anything anywhere are aren't around as at away back be became because been
    before behind being below beside besides between beyond both but by can could couldn't did
    didn't do does doesn't doing done down during each either else enough ever every everybody
    everyone everything everywhere for from further had hadn't has hasn't have haven't having he
    hence her here hers herself him himself his how however i i'd i'll i'm i've if in indeed
    into is isn't it it's its itself just kind like many may maybe me might mine more moreover
    most much must my myself name near of off often on once onto or other others otherwise our
    ours ourselves out over own part per perhaps please same shall she should shouldn't since so
    some somebody somehow someone something sometimes somewhere still such than that that's the
    their theirs them themselves then there therefore these they they're this those though
    through thus to together toward towards under until up upon us very was wasn't we well were
    weren't what whatever what's when whenever where whereas wherever whether which while who
    whoever whole whom who's whose why will with within would wouldn't yes yet you you'd you'll
    you're you've your yours yourself yourselves
"""
_DATES = """
    percentage pct average total sum amount
    monday tuesday wednesday thursday friday saturday sunday january february march april may
    june july august september october november december today tomorrow yesterday tonight
    morning noon afternoon evening night midnight spring summer autumn fall winter north south
    east west left right am pm celsius fahrenheit percent euro euros dollar dollars cent cents
"""

NEGATORS = frozenset(_NEGATORS.split())
NUMBERS = frozenset(_NUMBERS.split())
# What is asked, who does what to whom, when and where.
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
DATES = frozenset(_DATES.split())
