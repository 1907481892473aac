"""Pieces of episodes in a rollout, and who may be predicted from whom: loops over everything."""


def pieces(episode_starts_TN):
    """Return, environment by environment, lists of (t, n) of steps of one episode."""
    T, N = len(episode_starts_TN), len(episode_starts_TN[0])
    found = []
    for n in range(N):
        for t in range(T):
            if t == 0 or episode_starts_TN[t][n]:
                found.append([])
            found[-1].append((t, n))
    return found


def predictions(episode_starts_TN, n_steps):
    """Return all (k, context (t, n), target (t + k, n)) inside one episode, k from 1 to n_steps."""
    T, N = len(episode_starts_TN), len(episode_starts_TN[0])
    found = set()
    for n in range(N):
        for t in range(T):
            for k in range(1, n_steps + 1):
                inside = t + k < T and not any(
                    episode_starts_TN[u][n] for u in range(t + 1, t + k + 1)
                )
                if inside:
                    found.add((k, (t, n), (t + k, n)))
    return found
