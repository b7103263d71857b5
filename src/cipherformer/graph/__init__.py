"""The graph that everything after import works on."""

from cipherformer.graph.ir import Attr, Graph, Node

__all__ = ["Attr", "Graph", "Node"]
