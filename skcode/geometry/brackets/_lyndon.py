"""A basis of the free Lie algebra: every bracket once, none that antisymmetry or Jacobi imply."""

from __future__ import annotations

from skcode.geometry._checks import check_count

#: a letter, or a pair of brackets
Bracket = int | tuple["Bracket", "Bracket"]


def lyndon_words(n_letters: int, length: int) -> list[tuple[int, ...]]:
    """Lyndon words up to a length, in lexicographic order (Duval's algorithm)."""
    words, w = [], [-1]
    while w:
        w[-1] += 1
        words.append(tuple(w))
        n = len(w)
        while len(w) < length:
            w.append(w[-n])
        while w and w[-1] == n_letters - 1:
            w.pop()
    return words


def standard_bracket(word: tuple[int, ...]) -> Bracket:
    """Bracket of a Lyndon word: [u, v] with v its longest proper Lyndon suffix."""
    if len(word) == 1:
        return word[0]
    for k in range(1, len(word)):
        suffix = word[k:]
        if all(suffix < suffix[i:] for i in range(1, len(suffix))):
            return (standard_bracket(word[:k]), standard_bracket(suffix))
    raise AssertionError("the last letter is a Lyndon word")


def bracket_basis(n_letters: int, depth: int) -> list[list[Bracket]]:
    """Brackets of the Lyndon basis by depth: entry k holds those of k + 1 letters.

    Their number is Witt's (1 / k) sum_{j | k} mu(j) n_letters^(k / j).

    Parameters
    ----------
    n_letters : int
        Number of letters; they are 0, 1, ...
    depth : int
        Largest number of letters in a bracket.

    Returns
    -------
    list of list of brackets
        A bracket is a letter or a pair of brackets.

    Raises
    ------
    ValueError
        If n_letters or depth is below one.
    TypeError
        If one of them is no integer.

    References
    ----------
    .. [1] C. Reutenauer, "Free Lie Algebras", Oxford University Press, 1993, section 5.3.

    Examples
    --------
    >>> from skcode.geometry import bracket_basis
    >>> bracket_basis(2, 3)
    [[0, 1], [(0, 1)], [(0, (0, 1)), ((0, 1), 1)]]
    """
    check_count(n_letters, "n_letters")
    check_count(depth, "depth")
    by_depth: list[list[Bracket]] = [[] for _ in range(depth)]
    for word in lyndon_words(n_letters, depth):
        by_depth[len(word) - 1].append(standard_bracket(word))
    return by_depth
