"""Wrong input on the command line: one readable message, status 2, and nothing done.

Every case says in its pattern what was expected, what came or what to do.
"""

import pytest

SYNTHESIZE = "synthesize --classifier run --data data --out new"
SYNTHESIZE_BY = "synthesize --data data --out new --classifier"
FILE = f"{SYNTHESIZE} --targets file --targets-file"
RANKED = f"{SYNTHESIZE} --targets ranked"
TRAIN = (
    "classifier train --data data --out new --model vgg-small --width 0.05 --epochs 1 "
    "--batch-size 16"
)
TRAIN_ON = "classifier train --out new --model vgg-small --batch-size 16 --data"
MIXED = f"{TRAIN} --loss mixed"
SUBSET = "data subset --data data --out new"
AUGMENT = "augment --data data --out new"
EVALUATE = "classifier evaluate"
FIGURES = "experiment figures-a --preset smoke --out new"

# By name: words of a command in the directory `root`, and a pattern of its message.
CASES = {
    # commands and options
    "group alone": ("classifier", "group.*one of: classifier train, classifier evaluate"),
    "unknown option": (f"{SYNTHESIZE} --stepz 3", r"unknown option --stepz \(did you mean --steps"),
    "missing option": (
        "synthesize --classifier run --out new", r"missing --data \(Name of a data set"
    ),
    "word for a number": (f"{SYNTHESIZE} --steps many", "--steps must be a whole number.*'many'"),
    "word outside a choice": (f"{SYNTHESIZE} --pixel-map cubic", "tanh, sigmoid, got 'cubic'"),
    "unknown model": (f"{TRAIN} --model vgg17", "vgg17.*vgg16, .*resnet9.*package.module:name"),
    "unknown precision": (f"{SYNTHESIZE} --precision half", "float32, bfloat16, got 'half'"),
    # update rule, map, filter, stopping
    "unknown rule": (f"{SYNTHESIZE} --rule adan2", "unknown update rule 'adan2'.*optax.*adam"),
    "no optimiser": (f"{SYNTHESIZE} --rule l2_loss", "'?l2_loss'?.*(optimiser|takes)"),
    "module for a rule": (f"{SYNTHESIZE} --rule contrib", "unknown update rule 'contrib'"),
    "unknown option of a rule": (
        f"{SYNTHESIZE} --rule sgd --rule-options speed=3", "rule 'sgd'.*speed.*takes learning_rate"
    ),
    "missing option of a rule": (
        f"{SYNTHESIZE} --rule adam", "'adam' needs a learning.*--rule-options learning_rate=0.1"
    ),
    "missing option of a rule that has another": (
        f"{SYNTHESIZE} --rule adam --rule-options b1=0.5", "'adam' needs.*learning_rate=0.1"
    ),
    "misformed option of a rule": (
        f"{SYNTHESIZE} --rule sgd --rule-options 0.1", "must be name=value, got '0.1'"
    ),
    "word for a rate": (
        f"{SYNTHESIZE} --rule sgd --rule-options learning_rate=fast",
        "'sgd'.*rate must be a.*got 'fast'",
    ),
    "rate that is no number": (
        f"{SYNTHESIZE} --rule adam --rule-options learning_rate=nan", "rule 'adam'.*nan"
    ),
    "list for a rate": (
        f"{SYNTHESIZE} --rule sgd --rule-options learning_rate=[1,2]", "finite number.*got '.1,2.'"
    ),
    "complex rate": (
        f"{SYNTHESIZE} --rule sgd --rule-options learning_rate=1j", "finite number.*got '1j'"
    ),
    "endless rate": (
        f"{SYNTHESIZE} --rule sgd --rule-options learning_rate=1e999", "finite number.*got '1e999'"
    ),
    "unknown form of momentum": (
        f"{SYNTHESIZE} --rule momentum --rule-options form=nesterov", "pytorch.*printed.*'nesterov'"
    ),
    "margin of half a level": (f"{SYNTHESIZE} --margin 0.5", "margin.*below 0.5/255.*got 0.5"),
    "margin of nothing": (f"{SYNTHESIZE} --margin 0", "margin must be at least.*got 0.0"),
    "radius of nothing": (f"{SYNTHESIZE} --filter low-pass --radius 0", "radius.*above 0.*0.0"),
    "endless radius": (f"{SYNTHESIZE} --filter low-pass --radius inf", "radius.*finite.*inf"),
    "negative sigma": (f"{SYNTHESIZE} --filter gaussian --sigma=-1", "sigma.*above 0.*-1.0"),
    "endless sigma": (f"{SYNTHESIZE} --filter gaussian --sigma inf", "sigma.*finite.*inf"),
    "negative steps": (f"{SYNTHESIZE} --steps=-1", "steps must be at least 0.*-1"),
    "too many steps": (f"{SYNTHESIZE} --steps 3000000000", "steps must be.*3000000000"),
    "negative tolerance": (f"{SYNTHESIZE} --tolerance=-0.1", "tolerance.*at least 0.*-0.1"),
    "tolerance that is no number": (f"{SYNTHESIZE} --tolerance nan", "tolerance.*got nan"),
    "endless tolerance": (f"{SYNTHESIZE} --tolerance inf", "tolerance.*finite.*got inf"),
    # range and batches
    "batch of nothing": (f"{SYNTHESIZE} --batch-size 0", "batch_size must be at least 1.*0"),
    "shard of nothing": (f"{SYNTHESIZE} --batches-per-shard 0", "batches_per_shard.*least 1.*0"),
    "negative start": (f"{SYNTHESIZE} --start=-1", "--start -1 and --stop 48 must.* <= 48, the n"),
    "empty range": (f"{SYNTHESIZE} --start 9 --stop 9", "--start 9 and --stop 9.*start < stop"),
    "range beyond the split": (f"{SYNTHESIZE} --stop 49", "--stop 49 must be.*stop <= 48.*train"),
    "unknown split": (f"{SYNTHESIZE} --split validation", "among .'test', 'train'.*'validation'"),
    "key beyond 32 bits": (f"{SYNTHESIZE} --key {2**32}", f"key must be.*{2**32}"),
    # options that have no effect
    "radius of no filter": (f"{SYNTHESIZE} --radius 5", "--radius 5.0 .*without --filter low-pass"),
    "radius of another filter": (f"{SYNTHESIZE} --radius 5 --filter gaussian", "--radius 5.0 has"),
    "sigma of no filter": (f"{SYNTHESIZE} --sigma 2", "--sigma 2.0 .*without --filter gaussian"),
    "criterion of no tolerance": (
        f"{SYNTHESIZE} --tolerance None --criterion max_error", "without --tolerance"
    ),
    "label's share of uniform targets": (
        f"{SYNTHESIZE} --targets uniform --own 0.8", "--own 0.8 .*without --targets two-class"
    ),
    "ranking of two-class targets": (f"{SYNTHESIZE} --ranking ant bee", "--ranking ant bee has no"),
    "masses of two-class targets": (f"{SYNTHESIZE} --masses 0.5", "without --targets ranked"),
    "file of ranked targets": (f"{RANKED} --targets-file sum.npy", "without --targets file"),
    "fraction of no replacements": (f"{TRAIN} --fraction 0.5", "--fraction 0.5.*without --replace"),
    "test set of no split": (
        f"{TRAIN} --test-split '' --test-data data", "--test-data data.*without --test-split"
    ),
    "direction of no mixed loss": (f"{TRAIN} --kl 'model||target'", "--kl .*without --loss mixed"),
    "number of no skipped steps": (f"{TRAIN} --max-skipped 3", "without --on-nonfinite skip"),
    "training of no classifier": (
        "gan evaluate --images made --data data --classifier run --out new --epochs 3",
        "--epochs 3 has no effect without --gan-train",
    ),
    # targets
    "share above 1": (f"{SYNTHESIZE} --own 1.5", r"own must be a probability in \[0, 1\].*1.5"),
    "share that is no number": (f"{SYNTHESIZE} --own nan", "own must be a probability.*nan"),
    "ranking of an unknown class": (
        f"{RANKED} --ranking ant dog --masses 0.6 0.3", "unknown class 'dog'.*one of ant, bee, cow"
    ),
    "ranking of a class number too large": (
        f"{RANKED} --ranking 3 --masses 0.6", "unknown class '3'.*ant, bee, cow"
    ),
    "ranking of a class twice": (
        f"{RANKED} --ranking ant 0 --masses 0.6 0.3", "different classes.*0, 0"
    ),
    "ascending masses": (f"{RANKED} --ranking ant bee --masses 0.3 0.6", "descend.*0.3, 0.6"),
    "masses above 1": (f"{RANKED} --ranking ant bee --masses 0.9 0.3", "at most 1.*0.9, 0.3"),
    "fewer masses than classes": (
        f"{RANKED} --ranking ant bee --masses 0.9", "one length.*0, 1.*and.*0.9"
    ),
    "ranking of nothing": (RANKED, "--targets ranked needs --ranking and --masses, such as"),
    "ranking without masses": (f"{RANKED} --ranking ant", "ranked needs --ranking and --masses"),
    "no file of targets": (f"{SYNTHESIZE} --targets file", "needs --targets-file"),
    "absent file of targets": (f"{FILE} absent.npy", "no targets file absent.npy"),
    "targets that do not sum to 1": (f"{FILE} sum.npy", r"must sum to 1; row 5 is \[0.5, 0.33"),
    "negative target": (f"{FILE} negative.npy", "must not be negative; row 6 is.*-0.1"),
    "target that is no number": (f"{FILE} nan.npy", "must be finite; row 7 is.*nan"),
    "targets of other classes": (f"{FILE} classes.npy", r"shape \(48, 3\), got \(48, 4\)"),
    "targets of other images": (f"{FILE} rows.npy", r"shape \(48, 3\), got \(30, 3\)"),
    "whole numbers as targets": (f"{FILE} integers.npy", "floating-point.*int64"),
    "one number as targets": (f"{FILE} scalar.npy", r"shape \(48, 3\), got \(\)"),
    "pickled targets": (f"{FILE} pickled.npy", "pickled.npy is not a NumPy .npy file"),
    "several arrays as targets": (f"{FILE} several.npz", "several.npz holds several.*one .npy"),
    "text as targets": (f"{FILE} text.npy", "text.npy is not a NumPy .npy file"),
    "empty file as targets": (f"{FILE} empty.npy", "empty.npy is not a NumPy .npy file"),
    "cut archive as targets": (f"{FILE} cut.npz", "cut.npz is not a NumPy .npy file"),
    # classifiers
    "absent run": (f"{SYNTHESIZE_BY} absent", "no classifier at 'absent'.*classifier train"),
    "no run": (f"{SYNTHESIZE_BY} plain", "plain is not a classifier's run.*classifier train"),
    "file for a run": (f"{SYNTHESIZE_BY} file", "no classifier at 'file'.*run directory"),
    "damaged run": (
        f"{SYNTHESIZE_BY} damaged_run",
        r"damaged_run/checkpoints/24 is damaged .*repeat the command",
    ),
    "run without a description": (
        f"{SYNTHESIZE_BY} specless_run", "specless_run/classifier.json does not describe"
    ),
    "run of more classes": (
        "synthesize --classifier run --data four --out new", "has 3 classes.*data set 4 .*'dog'"
    ),
    "run of other classes": (
        "synthesize --classifier run --data other --out new", "'cow'.*the data set 3 .*'dog'"
    ),
    "run of another size": (
        "synthesize --classifier run --data large --out new",
        r"takes images of shape \(16, 16, 3\), the data set has \(32, 32, 3\)",
    ),
    "absent module": (f"{SYNTHESIZE_BY} absent.module:f", "cannot import.*No module.*absent"),
    "absent callable": (f"{SYNTHESIZE_BY} callables:five", "cannot import.*'five'"),
    "no callable": (f"{SYNTHESIZE_BY} callables:number", "a function from .* logits, got int"),
    "module with a mistake": (f"{SYNTHESIZE_BY} misspelt:classify", "cannot import.*SyntaxErr"),
    "module that fails": (f"{SYNTHESIZE_BY} failing:classify", "cannot import.*no licence"),
    "callable that is no classifier": (
        f"{SYNTHESIZE_BY} json:dumps", "json:dumps must be a function from images to logits"
    ),
    "callable without classes": (
        f"{SYNTHESIZE_BY} callables:flat",
        r"logits of shape \(1, number of classes\).*returned \(1,\)",
    ),
    "callable without images": (
        f"{SYNTHESIZE_BY} callables:batchless", r"logits of shape \(1, .*returned \(7, 3\)"
    ),
    "callable of other classes": (
        f"{SYNTHESIZE_BY} callables:four", "callables:four.*4 classes.*data set.* 3"
    ),
    "callable of other images": (
        f"{SYNTHESIZE_BY} callables:crashing", r"cannot take images of shape \(1, 16, 16, 3\)"
    ),
    # data
    "absent data": (
        "synthesize --classifier run --data absent --out new",
        "expected a data set's directory.*'absent'.*check the path",
    ),
    "directory without data": (f"{TRAIN_ON} plain", "dataset_info.json, got 'plain'.*none"),
    "absent data directory": (f"{TRAIN_ON} cifar10 --data-dir absent", "cifar10 in absent.*prep"),
    "missing shard": (f"{TRAIN_ON} missing", "made_up-train.array_record-00000: missing; make"),
    "flipped byte": (f"{TRAIN_ON} flipped", "made_up-train.array_record-00000: damaged.*make"),
    "broken metadata": (f"{TRAIN_ON} broken", "JSON in broken/dataset_info.json.*damaged"),
    "missing metadata": (f"{TRAIN_ON} unfeatured", "features.json in unfeatured.*make it again"),
    "label outside its range": (f"{TRAIN_ON} unlabelled", r"labels in \[0, 2\), got 2"),
    # training
    "size that cannot be halved": (f"{TRAIN_ON} odd", "vgg-small.*multiples of 16.*20×16"),
    "one class": (f"{TRAIN_ON} one", "at least 2 classes, got 1"),
    "batch above the training set": (
        f"{TRAIN} --batch-size 64", "48 images, less than one batch of 64; lower --batch-size"
    ),
    "no epochs": (f"{TRAIN} --epochs 0", "epochs must be at least 1, got 0"),
    "no width": (f"{TRAIN} --width 0", "width must be above 0.*got 0.0"),
    "endless width": (f"{TRAIN} --width inf", "width must be above 0.*finite.*got inf"),
    "no learning rate": (f"{TRAIN} --learning-rate 0", "learning_rate must be above 0.*0.0"),
    "endless learning rate": (f"{TRAIN} --learning-rate inf", "learning_rate.*finite.*got inf"),
    "decay that is no number": (f"{TRAIN} --weight-decay nan", "weight_decay.*got nan"),
    "momentum of 1": (f"{TRAIN} --momentum 1", r"momentum must be in \[0, 1\), got 1.0"),
    "negative padding": (f"{TRAIN} --pad-px=-1", "pad_px must be at least 0.*-1"),
    "unknown loss": (f"{TRAIN} --loss hinge", "cross-entropy, mixed, got 'hinge'"),
    "mixed loss of originals": (MIXED, "--loss mixed needs --replace"),
    "fraction above 1": (f"{TRAIN} --replace made --fraction 1.5", r"in \[0, 1\], got 1.5"),
    "negative fraction": (f"{TRAIN} --fraction=-0.1", r"fraction must be in \[0, 1\], got -0.1"),
    "fraction that is no number": (f"{TRAIN} --fraction nan", "fraction must be.*got nan"),
    "absent replacements": (f"{MIXED} --replace absent", "data set's directory.*'absent'"),
    "replacements without outputs": (
        f"{MIXED} --replace data", "no source_id, source_sha256 and output.*elicit synth"
    ),
    "too few replacements": (
        f"{MIXED} --replace made --fraction 0.5", "needs 24 replacements.*covers 10.*lower the frac"
    ),
    "replacements of namesakes": (
        f"{MIXED} --data namesakes --replace made --fraction 0.1",
        r"made from split train of namesakes \(sha256 .{8}…\), got a set made from split train of "
        r"made_up \(sha256 .{8}…\): 10 images such as train_00",
    ),
    "replacements of other classes": (
        f"{MIXED} --data other --replace made", "classes differ.*'dog'.*'cow'"
    ),
    "replacements of another size": (
        f"{MIXED} --data large --replace made", r"shapes differ.*\(32, 32, 3\).*\(16, 16, 3\)"
    ),
    "extra set of other classes": (
        f"{TRAIN} --extra data --extra four", r"'cow'\) in the training set.*'dog'\) in .* 2 \(four"
    ),
    "extra sets with all differences": (
        f"{TRAIN} --extra other --extra large", r"classes differ.*other\).*shapes differ.*large\)"
    ),
    "absent extra set": (f"{TRAIN} --extra absent", "data set's directory.*'absent'"),
    "extra sets after one word": (f"{TRAIN} --extra data four", "unexpected word 'four'"),
    # subsets and augmentation
    "subset of too few images": (
        f"{SUBSET} --per-class 16 --test-per-class 8", "16 . 8 images .* got 23 of ant, 23 of bee"
    ),
    "subset of nothing": (f"{SUBSET} --per-class 0", "per_class must be at least 1, got 0"),
    "subset of negative tests": (f"{SUBSET} --test-per-class=-1", "at least 0, got -1"),
    "subset that skips a negative number": (f"{SUBSET} --skip-per-class=-1", "at least 0, got -1"),
    "subset of an unknown split": (f"{SUBSET} --split train dev", "split among.*'dev'"),
    "subset of a split twice": (f"{SUBSET} --split train train", "splits.*train, train"),
    "subset by a key beyond 32 bits": (f"{SUBSET} --key {2**32}", f"key must be.*{2**32}"),
    "subset over another's set": (
        f"{SUBSET} --per-class 2 --test-per-class 1 --out data",
        "data holds a run or set of another",
    ),
    "subset over a directory": (
        f"{SUBSET} --per-class 2 --test-per-class 1 --out plain", "plain is there.*another --out"
    ),
    "augmentation of nothing": (f"{AUGMENT} --data absent", "data set's directory.*'absent'"),
    "unknown augmentation": (f"{AUGMENT} --method mixup", "must be one of crop-zoom, got 'mixup'"),
    "square above the image": (AUGMENT, r"crop_px must be in \[1, 16\].*16 x 16.*got 24"),
    "square of nothing": (f"{AUGMENT} --crop-px 0", r"crop_px must be in \[1, 16\].*got 0"),
    "no copies": (f"{AUGMENT} --crop-px 8 --copies 0", "copies must be at least 1, got 0"),
    "augmentation over a run": (
        f"{AUGMENT} --crop-px 8 --out run", "run holds a run or set of another"
    ),
    # existing outputs
    "set of another configuration": (
        f"{SYNTHESIZE} --out made --steps 9",
        "made holds a run or set of another.*steps was 5, now 9",
    ),
    "run of another configuration": (
        f"{TRAIN} --out run", "run holds a run of another.*epochs was 6, now 1.*another --out"
    ),
    "run where a set is wanted": (f"{SYNTHESIZE} --out run", "run holds a run or set of another"),
    "directory of the user's own": (f"{SYNTHESIZE} --out plain", "plain is there.*another --out"),
    "file of the user's own": (f"{TRAIN} --out file", "file is there.*another --out"),
    "directory below a file": (f"{TRAIN} --out file/new", "file/new"),
    # the other commands
    "evaluation of nothing": (f"{EVALUATE} plain", "plain is not a classifier's run.*make one"),
    "evaluation of a damaged run": (
        f"{EVALUATE} damaged_run", "damaged_run/checkpoints/24 is damaged"
    ),
    "evaluation without a data set": (
        f"{EVALUATE} misnamed_run", "misnamed_run/config.json.*--data"
    ),
    "evaluation on another size": (
        f"{EVALUATE} run --data large", r"\(16, 16, 3\), the data set has \(32, 32, 3\)"
    ),
    "evaluation on other classes": (f"{EVALUATE} run --data four", "3 classes.*data set 4"),
    "evaluation of no batch": (f"{EVALUATE} run --batch-size 0", "batch_size.*least 1.*got 0"),
    "evaluation of an unknown split": (f"{EVALUATE} run --split dev", "split among.*'dev'"),
    "figures of an unknown rule": (f"{FIGURES} --only adam,0", "ROW,SEED.*'adam,0'.*among sgd"),
    "figures of an unknown seed": (f"{FIGURES} --only sgd,7", "ROW,SEED.*'sgd,7'.*among 0"),
    "figures of no such share": (f"{FIGURES} --shard 9/8", "--shard must be.*got '9/8'"),
    "figures of data not read": (f"{FIGURES} --data-dir d", "--data-dir d has no.*--preset smoke"),
    "figures of no key": (f"{FIGURES} --key -1", "key must be at least 0"),
    "quickstart of one seed": ("quickstart --out new --seeds 1", "seeds must be at least 2.*1"),
    "quickstart of too much": ("quickstart --out new --fraction 2", r"fraction.*\[0, 1\].*2.0"),
    "quickstart elsewhere": ("quickstart --out plain", "plain is there.*another --out"),
    "nothing to show": ("data show absent --out new", "data set's directory.*'absent'"),
    "nothing to import": ("data import absent --out new", "absent"),
}  # fmt: skip


@pytest.mark.filterwarnings("default:checkpoint .* is damaged")
@pytest.mark.parametrize(("words", "message"), CASES.values(), ids=CASES)
def test_wrong_input_is_one_message_and_nothing_else(words, message, check_wrong_input):
    check_wrong_input(words, message)
