"""The table of known data sets: what each is, which files it needs, whose terms it comes under.

A set that is fetchable names, for each download, a checksum that its *publisher* states, with
the page that states it. Sets whose publisher states none are not fetchable; their error says
which files to put where.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Download:
    """One file that a publisher offers.

    Attributes:
        url: where it is.
        checksum: ``"md5:..."`` or ``"sha256:..."``, as the publisher states it.
        stated_at: the page where the publisher states it.
        unpacks_to: the members of a tar archive to keep, by file name; empty where the download
            is itself the file, under the last part of its URL.
    """

    url: str
    checksum: str
    stated_at: str
    unpacks_to: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSet:
    """A data set that sidle knows by name.

    Attributes:
        name: its name, and that of its folder.
        kind: images, audio, text, extreme, samples or games.
        description: what it is, in one line.
        licence: whose terms it comes under.
        files: alternatives; one of them must be there in full. ``.gz`` may be added to the name
            of any file but an .npz. A name without a dot may be a folder.
        publisher: the page to get it from.
        downloads: what `sources.fetch` gets; empty where no publisher states checksums.
        embedded: needs no file; ``publisher`` then says which function makes it.
    """

    name: str
    kind: str
    description: str
    licence: str
    files: tuple[tuple[str, ...], ...] = ()
    publisher: str = ""
    downloads: tuple[Download, ...] = ()
    embedded: bool = False


_IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_CIFAR10_BATCHES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
_XC_FILES = (("train.txt", "test.txt"),)
_FASHION_MNIST_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_FASHION_MNIST_README = "https://github.com/zalandoresearch/fashion-mnist#get-the-data"
_MLDR = "https://github.com/fcharte/mldr.datasets"

_ALL = (
    DataSet(
        "digits",
        "images",
        "8x8 handwritten digits that come with scikit-learn (1,797 images)",
        "BSD-3-Clause with scikit-learn; from UCI (Alpaydin and Kaynak 1998)",
        publisher="sidle.data.images.digits",
        embedded=True,
    ),
    DataSet(
        "synthetic_speech",
        "audio",
        "synthetic speech of a source-filter synthesiser, phones and speakers known",
        "made on your machine, no restriction",
        publisher="sidle.data.synthetic.speech",
        embedded=True,
    ),
    DataSet(
        "standard_library",
        "text",
        "source and sentences of the Python standard library on your machine (real text)",
        "PSF License",
        publisher="sidle.data.text.standard_library",
        embedded=True,
    ),
    DataSet(
        "mnist",
        "images",
        "MNIST: 70,000 grey 28x28 handwritten digits",
        "CC BY-SA 3.0 (LeCun and Cortes, as Keras states it)",
        (_IDX_FILES,),
        "http://yann.lecun.com/exdb/mnist/",
    ),
    DataSet(
        "fashion_mnist",
        "images",
        "Fashion-MNIST: 70,000 grey 28x28 pictures of clothes",
        "MIT (Zalando SE)",
        (_IDX_FILES,),
        _FASHION_MNIST_README,
        # Checksums: table "Get the Data" in the README of zalandoresearch/fashion-mnist.
        tuple(
            Download(f"{_FASHION_MNIST_URL}{name}.gz", f"md5:{md5}", _FASHION_MNIST_README)
            for name, md5 in zip(
                _IDX_FILES,
                (
                    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                    "25c81989df183df01b3e8a0aad5dffbe",
                    "bef4ecab320f06d8554ea6380940ec79",
                    "bb300cfdad3c16e7a12a480ee83cd310",
                ),
                strict=True,
            )
        ),
    ),
    DataSet(
        "cifar10",
        "images",
        "CIFAR-10: 60,000 colour 32x32 pictures of ten classes",
        "none stated; published for research (Krizhevsky 2009)",
        (_CIFAR10_BATCHES, ("cifar10_jpeg.npz",), ("cifar10_u8_small.npz",), ("cifar10.npz",)),
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        (
            Download(
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                # Checksum: table "Download", row "CIFAR-10 binary version", of the page below.
                "md5:c32a1d4ab5d03f1284b67883e8d87530",
                "https://www.cs.toronto.edu/~kriz/cifar.html",
                _CIFAR10_BATCHES,
            ),
        ),
    ),
    DataSet(
        "fsdd",
        "audio",
        "Free Spoken Digit Dataset: 3,000 recordings of 0 to 9 by 6 speakers, 8 kHz",
        "CC BY-SA 4.0",
        (("fsdd.npz",), ("recordings",)),
        "https://github.com/Jakobovski/free-spoken-digit-dataset",
    ),
    DataSet(
        "timit",
        "audio",
        "TIMIT: 6,300 read sentences of 630 speakers with aligned phones, 16 kHz",
        "bought from the Linguistic Data Consortium (LDC93S1)",
        (("TRAIN", "TEST"), ("train", "test"), ("timit.npz",)),
        "https://catalog.ldc.upenn.edu/LDC93S1",
    ),
    DataSet(
        "timit_sample",
        "audio",
        "TIMIT sample of NLTK: 160 sentences of 16 speakers with aligned phones, 16 kHz",
        "CC BY-NC-SA (LDC): non-commercial",
        (("timit_sample.npz",),),
        "https://www.nltk.org/nltk_data/",
    ),
    DataSet(
        "sentence_classification",
        "text",
        "MR, CR, SUBJ, MPQA and TREC: sentences with classes",
        "free for research (Pang and Lee; Hu and Liu; Wiebe et al.; Li and Roth)",
        (
            (
                "rt-polarity.all",
                "custrev.all",
                "subj.all",
                "mpqa.all",
                "TREC.train.all",
                "TREC.test.all",
            ),
        ),
        "https://github.com/harvardnlp/sent-conv-torch/tree/master/data",
    ),
    DataSet(
        "lm_corpus",
        "text",
        "English text for next-token prediction: Brown, 12 Gutenberg books, library abstracts",
        "Brown: non-commercial; Gutenberg: public domain; Finna: CC0 1.0",
        (("brown.txt", "gutenberg.txt", "finna_abstracts_en.txt"),),
        "https://www.nltk.org/nltk_data/",
    ),
    DataSet(
        "mi_benchmark",
        "samples",
        "samples of 40 problems with known mutual information",
        "MIT (Czyż et al. 2023)",
        (("tasks.json", "samples_seed0_n2000.npz"),),
        "https://github.com/cbg-ethz/bmi",
    ),
    DataSet(
        "vgdl_conformance",
        "games",
        "what the reference game engine does, tick by tick",
        "rules and levels of our own; the traces are facts",
        (("cases",),),
    ),
    DataSet(
        "xc_finna_yso",
        "extreme",
        "library records with subjects: 202,074 rows, 37,504 features, 22,078 labels",
        "metadata CC0 1.0 (Finna), subjects CC BY 4.0 (YSO)",
        _XC_FILES,
        "https://github.com/NatLibFi/Annif-corpora",
    ),
    DataSet(
        "xc_delicious",
        "extreme",
        "web pages with tags: 16,105 rows, 500 features, 983 labels",
        "Mulan (Tsoumakas et al. 2008); package LGPL-3",
        _XC_FILES,
        _MLDR,
    ),
    DataSet(
        "xc_bibtex",
        "extreme",
        "bibliography entries with tags: 7,395 rows, 1,836 features, 159 labels",
        "Mulan (Katakis et al. 2008); package LGPL-3",
        _XC_FILES,
        _MLDR,
    ),
    DataSet(
        "xc_rcv1sub1",
        "extreme",
        "Reuters news with topics: 6,000 rows, 47,236 features, 101 labels",
        "vectors for research use (Lewis et al. 2004)",
        _XC_FILES,
        _MLDR,
    ),
)

KNOWN = {data_set.name: data_set for data_set in _ALL}
"""Every known data set by its name, the embedded ones first."""
