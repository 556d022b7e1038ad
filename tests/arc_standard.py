"""Arc-standard parsing one sentence at a time, with lists, as the textbook has it; and random trees.

Children are read off the arcs anew each time, and none of it knows of arrays: what the parser's arrays are tested by.
"""

SHIFT, LEFT_ARC, RIGHT_ARC = range(3)


class Parse:
    """A partial parse: ``stack`` (top last), ``buffer`` (front first), ``heads`` and ``labels`` of words, as dicts."""

    def __init__(self, num_words):
        self.stack, self.buffer = [0], list(range(1, num_words + 1))
        self.heads, self.labels = {}, {}

    def done(self):
        return self.stack == [0] and not self.buffer

    def legal(self):
        """Whether SHIFT, LEFT-ARC and RIGHT-ARC are legal."""
        arc = len(self.stack) >= 2
        from_root = arc and self.stack[-2] == 0
        return [bool(self.buffer), arc and not from_root, arc and not (from_root and self.buffer)]

    def take(self, transition, num_labels):
        kind, label = split(transition, num_labels)
        assert self.legal()[kind]
        if kind == SHIFT:
            self.stack.append(self.buffer.pop(0))
        else:
            dependent = self.stack.pop(-2 if kind == LEFT_ARC else -1)
            self.heads[dependent], self.labels[dependent] = self.stack[-1], label

    def children(self, position):
        """(first, second, last, last but one) on the left and on the right: lc1, lc2, rc1, rc2; -1 for none."""
        children = sorted(child for child, head in self.heads.items() if head == position)
        left = [child for child in children if child < position]
        right = [child for child in children if child > position][::-1]
        return first(2, left) + first(2, right)

    def features(self):
        """The 18 positions and the 12 labels of Chen and Manning (2014), -1 and 0 for none."""
        core = first(3, self.stack[::-1]) + first(3, self.buffer)
        children = []
        for position in core[:2]:
            lc1, lc2, rc1, rc2 = self.children(position)
            children += [lc1, rc1, lc2, rc2, self.children(lc1)[0], self.children(rc1)[2]]
        return core + children, [self.labels[child] if child > 0 else 0 for child in children]

    def oracle(self, heads, labels, num_labels):
        """The transition towards the tree ``heads``, ``labels`` (of position 0 too), or None where it is stuck."""
        s1, s2 = self.stack[-1], self.stack[-2] if len(self.stack) > 1 else None
        if s2 and heads[s2] == s1:
            return labels[s2]
        waiting = any(heads[word] == s1 for word in self.buffer)
        if s2 is not None and heads[s1] == s2 and not waiting and self.legal()[RIGHT_ARC]:
            return num_labels + labels[s1]
        return 0 if self.buffer else None


def first(number, positions):
    """The first of ``positions``, with -1 for those that are missing."""
    return [*positions, *[-1] * number][:number]


def split(transition, num_labels):
    """(kind, label) of a transition; SHIFT's label is 0."""
    if transition == 0:
        return SHIFT, 0
    return (LEFT_ARC, transition) if transition <= num_labels else (RIGHT_ARC, transition - num_labels)


def random_projective_tree(random, num_words):
    """The heads of positions 0..n, -1 first: any projective tree can come out."""
    heads = [-1] * (num_words + 1)

    def grow(first, last, head):
        """Makes first..last one subtree under ``head``."""
        root = int(random.integers(first, last + 1))
        heads[root] = head
        for start, end in ((first, root), (root + 1, last + 1)):
            while start < end:
                stop = int(random.integers(start, end))
                grow(start, stop, root)
                start = stop + 1

    grow(1, num_words, 0)
    return heads


def random_tree(random, num_words):
    """The heads of positions 0..n, -1 first: any tree with one root can come out, projective or not."""
    heads, placed = [-1] * (num_words + 1), []
    for word in random.permutation(num_words) + 1:
        heads[word] = int(random.choice(placed)) if placed else 0
        placed.append(word)
    return heads


def crosses(heads):
    """Whether two arcs of a tree cross, ROOT's arc included."""
    arcs = [tuple(sorted((word, head))) for word, head in enumerate(heads) if head >= 0]
    return any(a < c < b < d for a, b in arcs for c, d in arcs)
