"""From the bytes of XC text to CSR arrays: one pass, no allocation.

A row is ``l1,l2,... f:v f:v ...``. `parse_rows` reads whole rows from a byte array and appends
to the arrays it is given; each row is left sorted and free of duplicates.

The value of a decimal is v = m * 10^q. Wanted is float32(float64(v)), each step rounded to the
nearest: what ``np.float32(float(text))`` gives.
1. m <= 2^53 and |q| <= 22: float64 holds m and 10^|q| exactly, so one product or quotient is
   float64(v) itself.
2. Otherwise w = m * 10^q in float64, with m cut to 18 digits, is off by four roundings at most:
   |w - float64(v)| < 2^-50 w. Rounding to float32 keeps order, so when w (1 - 2^-50) and
   w (1 + 2^-50) round to the same float32, that is the answer.
3. What is left, about one in 2^26, is handed back to the caller as `UNDECIDED`.
"""

from __future__ import annotations

import numba
import numpy as np

# What parse_rows returns. OK: the text is used up or the rows wanted are there.
(
    OK,
    UNDECIDED,
    BLANK_ROW,
    LINE_TOO_LONG,
    BAD_LABEL,
    LABEL_OUT_OF_RANGE,
    DUPLICATE_LABEL,
    BAD_FEATURE,
    FEATURE_OUT_OF_RANGE,
    DUPLICATE_FEATURE,
    BAD_VALUE,
    VALUE_TOO_LARGE,
) = range(12)

# Places in the cursor, an int64 array that parse_rows reads and updates.
POSITION = 0  # offset in text of the next byte to read; after an error, of what is wrong
ROWS = 1  # rows finished
FEATURES = 2  # entries in feature_indices and feature_values
LABELS = 3  # entries in label_indices
ROW_START = 4  # offset of the row that is being read, -1 between two rows
DETAIL = 5  # UNDECIDED: offset behind the value; DUPLICATE_*: the index that comes twice
CURSOR_SIZE = 6

_TAB, _NEWLINE, _RETURN, _BLANK, _PLUS, _COMMA, _MINUS, _DOT, _ZERO, _COLON = b"\t\n\r +,-.0:"
_LOWER_E, _UPPER_E = b"eE"

_MOST_DIGITS = 18  # 10^18 < 2^63
_ROOM_FOR_A_DIGIT = 10 ** (_MOST_DIGITS - 1)
_SATURATED_INDEX = 10**17  # ten times it fits in int64
_SATURATED_EXPONENT = 10**9  # far above the number of digits that fit in a line
_EXACT_MANTISSA = 2**53
_EXACT_POWER = 22
# Below 10^-64 times any 18 digits lies under half the smallest float32; 10^39 is over the largest.
_LOWEST_POWER, _HIGHEST_POWER = -64, 38
_POWERS = np.array([float(f"1e{q}") for q in range(_LOWEST_POWER, _HIGHEST_POWER + 1)])
_SLACK = 2.0**-50


@numba.njit(cache=True, nogil=True)
def parse_rows(
    text,
    stop,
    most_rows,
    n_features,
    n_labels,
    most_line_bytes,
    cursor,
    feature_indptr,
    feature_indices,
    feature_values,
    label_indptr,
    label_indices,
):
    """Append the rows of text[cursor[POSITION]:stop] until cursor[ROWS] is most_rows.

    On `UNDECIDED` the caller stores its own value in feature_values[cursor[FEATURES]], adds one
    to cursor[FEATURES], moves cursor[POSITION] to cursor[DETAIL], and calls again.

    Preconditions: text uint8, cursor int64, values float32, the others int32 or int64, all
    C-contiguous; text[stop - 1] is a newline, and cursor[POSITION] is at the start of a line or
    where `UNDECIDED` left it; with b bytes to read there is room for b // 4 + 1 more features
    and b // 2 + 1 more labels, and both indptr for min(most_rows, cursor[ROWS] + b // 2 + 1)
    rows; both indptr are filled up to cursor[ROWS]; n_features and n_labels are below 2^31.
    """
    p = cursor[POSITION]
    while True:
        row = cursor[ROWS]
        if cursor[ROW_START] < 0:
            if p >= stop or row >= most_rows:
                cursor[POSITION] = p
                return OK
            cursor[ROW_START] = p
            status, p = _parse_labels(text, p, n_labels, cursor, label_indices)
            if status != OK:
                cursor[POSITION] = p
                return status
        status, p = _parse_features(text, p, n_features, cursor, feature_indices, feature_values)
        if status != OK:
            cursor[POSITION] = p
            return status
        if p - cursor[ROW_START] > most_line_bytes:
            status = LINE_TOO_LONG
        else:
            status = _finish_row(
                cursor, feature_indptr, feature_indices, feature_values, label_indptr, label_indices
            )
        if status != OK:
            cursor[POSITION] = cursor[ROW_START]
            return status
        cursor[ROW_START] = -1
        p += 1  # the newline


@numba.njit(cache=True, nogil=True)
def _parse_labels(text, p, n_labels, cursor, label_indices):
    """Append the label list at p, empty if a blank stands there; return (status, offset)."""
    count = cursor[LABELS]
    if not _ends_token(text, p):
        while True:
            token = p
            index, p = _parse_index(text, p)
            if p == token or not (text[p] == _COMMA or _ends_token(text, p)):
                return BAD_LABEL, token
            if index >= n_labels:
                return LABEL_OUT_OF_RANGE, token
            label_indices[count] = index
            count += 1
            if text[p] != _COMMA:
                break
            p += 1
    cursor[LABELS] = count
    return OK, p


@numba.njit(cache=True, nogil=True)
def _parse_features(text, p, n_features, cursor, feature_indices, feature_values):
    """Append the features from p to the end of the line; return (status, offset of the newline)."""
    count = cursor[FEATURES]
    while True:
        while text[p] == _BLANK or text[p] == _TAB:
            p += 1
        if _ends_token(text, p):
            break
        token = p
        index, p = _parse_index(text, p)
        if p == token or text[p] != _COLON:
            return BAD_FEATURE, token
        if index >= n_features:
            return FEATURE_OUT_OF_RANGE, token
        p += 1
        feature_indices[count] = index
        status, value, after = _parse_value(text, p)
        if not _ends_token(text, after):
            return BAD_VALUE, token
        if status == UNDECIDED:
            cursor[FEATURES] = count
            cursor[DETAIL] = after
            return UNDECIDED, p
        if status != OK:
            return status, token
        p = after
        feature_values[count] = value
        count += 1
    cursor[FEATURES] = count
    return OK, (p + 1 if text[p] == _RETURN else p)


@numba.njit(cache=True, nogil=True)
def _ends_token(text, p):
    """Whether a blank or the end of the line stands at p."""
    byte = text[p]
    if byte == _RETURN:
        return text[p + 1] == _NEWLINE
    return byte in (_BLANK, _NEWLINE, _TAB)


@numba.njit(cache=True, nogil=True)
def _parse_digits(text, p, number):
    """Append the decimal digits at p to number; return (number modulo 2^64, offset behind them)."""
    while True:
        digit = np.int64(text[p]) - _ZERO
        if digit < 0 or digit > 9:
            return number, p
        number = number * 10 + digit
        p += 1


@numba.njit(cache=True, nogil=True)
def _parse_index(text, p):
    """Return (the integer at p, offset behind it); no digit leaves the offset where it was."""
    start = p
    index, p = _parse_digits(text, p, np.int64(0))
    if p - start > _MOST_DIGITS:  # it may have wrapped around
        index = np.int64(0)
        for at in range(start, p):
            index = min(index * 10 + (np.int64(text[at]) - _ZERO), _SATURATED_INDEX)
    return index, p


@numba.njit(cache=True, nogil=True)
def _parse_value(text, p):
    """Return (status, value as float32, offset behind it) of the decimal at p."""
    nothing = np.float32(0.0)
    if text[p] == _PLUS:
        p += 1
    start = p
    mantissa, p = _parse_digits(text, p, np.int64(0))
    n_digits = p - start
    power = np.int64(0)
    if text[p] == _DOT:
        fraction = p + 1
        mantissa, p = _parse_digits(text, fraction, mantissa)
        power = fraction - p
        n_digits -= power
    if n_digits == 0:
        return BAD_VALUE, nothing, p
    if n_digits > _MOST_DIGITS:
        mantissa, power = _cut_mantissa(text, start, p)
    if text[p] == _LOWER_E or text[p] == _UPPER_E:
        p += 1
        sign = 1
        if text[p] == _PLUS or text[p] == _MINUS:
            sign = -1 if text[p] == _MINUS else 1
            p += 1
        size, after = _parse_index(text, p)
        if after == p:
            return BAD_VALUE, nothing, p
        power += sign * min(size, _SATURATED_EXPONENT)
        p = after
    status, value = _round(mantissa, power)
    return status, value, p


@numba.njit(cache=True, nogil=True)
def _cut_mantissa(text, start, stop):
    """Return (first 18 significant digits of text[start:stop], power of ten that goes with them).

    Where digits are lost the mantissa is at least 10^17, too large for `_round` to call it exact.
    """
    mantissa = np.int64(0)
    power = np.int64(0)
    in_fraction = False
    for at in range(start, stop):
        if text[at] == _DOT:
            in_fraction = True
            continue
        digit = np.int64(text[at]) - _ZERO
        kept = mantissa < _ROOM_FOR_A_DIGIT
        if kept:
            mantissa = mantissa * 10 + digit
        # A digit kept in the fraction lowers the power; one dropped before the dot raises it.
        if kept and in_fraction:
            power -= 1
        elif not kept and not in_fraction:
            power += 1
    return mantissa, power


@numba.njit(cache=True, nogil=True)
def _round(mantissa, power):
    """Return (status, float32 nearest to the float64 nearest to mantissa * 10^power)."""
    value = np.float32(0.0)
    if mantissa == 0 or power < _LOWEST_POWER:
        return OK, value
    if power > _HIGHEST_POWER:
        return VALUE_TOO_LARGE, value
    if mantissa <= _EXACT_MANTISSA and -_EXACT_POWER <= power <= _EXACT_POWER:
        if power < 0:
            value = np.float32(np.float64(mantissa) / _POWERS[-power - _LOWEST_POWER])
        else:
            value = np.float32(np.float64(mantissa) * _POWERS[power - _LOWEST_POWER])
    else:
        wide = np.float64(mantissa) * _POWERS[power - _LOWEST_POWER]
        value = np.float32(wide * (1.0 + _SLACK))
        if np.float32(wide * (1.0 - _SLACK)) != value:
            return UNDECIDED, value
    return (VALUE_TOO_LARGE if np.isinf(value) else OK), value


@numba.njit(cache=True, nogil=True)
def _finish_row(
    cursor, feature_indptr, feature_indices, feature_values, label_indptr, label_indices
):
    """Sort the row that ends here, look for duplicates, and count it; return its status."""
    row = cursor[ROWS]
    first_feature, features = feature_indptr[row], cursor[FEATURES]
    first_label, labels = label_indptr[row], cursor[LABELS]
    if first_feature == features and first_label == labels:
        return BLANK_ROW
    duplicate = _settle(label_indices[first_label:labels], None)
    if duplicate >= 0:
        cursor[DETAIL] = duplicate
        return DUPLICATE_LABEL
    duplicate = _settle(
        feature_indices[first_feature:features], feature_values[first_feature:features]
    )
    if duplicate >= 0:
        cursor[DETAIL] = duplicate
        return DUPLICATE_FEATURE
    feature_indptr[row + 1] = features
    label_indptr[row + 1] = labels
    cursor[ROWS] = row + 1
    return OK


@numba.njit(cache=True, nogil=True)
def _settle(indices, values):
    """Sort indices, and values (or None) with them; return an index that comes twice, or -1."""
    increasing = True
    for k in range(1, indices.size):
        increasing &= indices[k - 1] < indices[k]
    if increasing:
        return np.int64(-1)
    # Heapsort: in place, and no row, however long and hostile, takes it to quadratic time.
    for root in range(indices.size // 2 - 1, -1, -1):
        _sift_down(indices, values, root, indices.size)
    for last in range(indices.size - 1, 0, -1):
        _swap(indices, values, 0, last)
        _sift_down(indices, values, 0, last)
    for k in range(1, indices.size):
        if indices[k - 1] == indices[k]:
            return np.int64(indices[k])
    return np.int64(-1)


@numba.njit(cache=True, nogil=True)
def _sift_down(indices, values, root, size):
    """Let the entry at root sink until the heap indices[:size] has its largest on top."""
    while True:
        child = 2 * root + 1
        if child >= size:
            return
        if child + 1 < size and indices[child + 1] > indices[child]:
            child += 1
        if indices[root] >= indices[child]:
            return
        _swap(indices, values, root, child)
        root = child


@numba.njit(cache=True, nogil=True)
def _swap(indices, values, i, j):
    """Exchange the entries i and j of indices, and of values unless it is None."""
    indices[i], indices[j] = indices[j], indices[i]
    if values is not None:
        values[i], values[j] = values[j], values[i]
