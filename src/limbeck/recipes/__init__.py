"""A recipe: one typed YAML file that says everything about one run.

Unknown keys, missing files and contradictions are reported before any work starts.
"""

from limbeck.recipes.base import Section, Split
from limbeck.recipes.data import BeirData, CorpusData, HubData, IrDatasetsData, StdlibData
from limbeck.recipes.dense import D2LLMRecipe, DenseStudentRecipe, ListLossRecipe
from limbeck.recipes.generative import (
    BodyRecipe,
    FileSource,
    GeneratedSource,
    GenerativeStudentRecipe,
    PseudoQueryRecipe,
    PseudoQuerySource,
    Ranking,
    TitleRecipe,
)
from limbeck.recipes.loading import digest, load_recipe, make_recipe, recipe_yaml
from limbeck.recipes.pairs import (
    RETRIEVAL,
    BinaryLabels,
    GradedLabels,
    PairBiEncoderMember,
    PairCrossEncoderMember,
    PairFineTuning,
    PairLLMMember,
    PairLossRecipe,
    PairMember,
    PairSetRecipe,
)
from limbeck.recipes.queries import (
    ClozeWriterRecipe,
    InventedQueries,
    JudgedQueries,
    LLMWriterRecipe,
    QueryFilter,
    QueryGeneratorSection,
    Seq2SeqWriterRecipe,
    ServerWriterRecipe,
    Writer,
)
from limbeck.recipes.recipe import Recipe
from limbeck.recipes.teacher import (
    BiEncoderMember,
    Bm25Member,
    CrossEncoderMember,
    LateInteractionMember,
    LLMMember,
    LLMSection,
    Member,
    RunMember,
    ServerMember,
)

__all__ = [
    "RETRIEVAL",
    "BeirData",
    "BiEncoderMember",
    "BinaryLabels",
    "Bm25Member",
    "BodyRecipe",
    "ClozeWriterRecipe",
    "CorpusData",
    "CrossEncoderMember",
    "D2LLMRecipe",
    "DenseStudentRecipe",
    "FileSource",
    "GeneratedSource",
    "GenerativeStudentRecipe",
    "GradedLabels",
    "HubData",
    "InventedQueries",
    "IrDatasetsData",
    "JudgedQueries",
    "LLMMember",
    "LLMSection",
    "LLMWriterRecipe",
    "LateInteractionMember",
    "ListLossRecipe",
    "Member",
    "PairBiEncoderMember",
    "PairCrossEncoderMember",
    "PairFineTuning",
    "PairLLMMember",
    "PairLossRecipe",
    "PairMember",
    "PairSetRecipe",
    "PseudoQueryRecipe",
    "PseudoQuerySource",
    "QueryFilter",
    "QueryGeneratorSection",
    "Ranking",
    "Recipe",
    "RunMember",
    "Section",
    "Seq2SeqWriterRecipe",
    "ServerMember",
    "ServerWriterRecipe",
    "Split",
    "StdlibData",
    "TitleRecipe",
    "Writer",
    "digest",
    "load_recipe",
    "make_recipe",
    "recipe_yaml",
]
