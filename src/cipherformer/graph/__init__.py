"""The graph that everything after import works on."""

from cipherformer.graph.ir import Graph, Node
from cipherformer.types import Attr

__all__ = ["Attr", "Graph", "Node"]
