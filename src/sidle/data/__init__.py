"""Data: where it is found, how it is read, and what needs no file at all.

    sources      a name becomes a path; what `sidle data` lists and fetches
    catalogue    the table of known data sets behind it
    archives     bounded reading of gzip, `.npy` and `.npz`
    images       IDX, CIFAR-10 binary, folders of PNG and JPEG, packed `.npz`; embedded digits
    audio        folders of WAV and FLAC, packed `.npz`; the type that all speech has
    timit        the TIMIT tree with its phone alignments
    text         lines, labelled sentences, vocabularies; embedded: Python's standard library
    phones       formants of the synthetic voice
    synthetic    synthetic speech with known phones and speakers
    extreme      sparse rows with sets of labels (XC text)

Readers return NumPy arrays and refuse a malformed file with a `DataError` that names it. Import
the module you need; this package imports none of them.
"""
