"""Search for the TensorRT attributes that a source uses, by its type annotations.

Types come from the protocols in `api.py` and `module.py`: an expression has a TensorRT type when an
annotation says so or when it is what such a type's declared member returns. An attribute that no
protocol declares is found all the same, as a use of something to be looked for in the bindings.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

MODULE_CLASSES = ("TensorRt", "RtxTensorRt")


@dataclass(frozen=True)
class Value:
    """An expression known to be TensorRT's.

    Attributes:
        path: Name in the bindings, such as "IBuilderConfig"; empty for the module itself.
        kind: The protocol that describes it, or None.
        gives: The protocol of what calling it returns, or None.
        is_declared: Whether a protocol declares it; if so and it has no kind, it is a plain value.
        rtx_only: Whether only TensorRT-RTX has it.
    """

    path: str
    kind: str | None = None
    gives: str | None = None
    is_declared: bool = True
    rtx_only: bool = False


@dataclass(frozen=True)
class Member:
    """What a protocol says of one attribute."""

    kind: str | None
    gives: str | None
    rtx_only: bool


@dataclass
class Uses:
    """Paths of attributes in the bindings.

    Attributes:
        common: Must exist in every TensorRT and in TensorRT-RTX.
        rtx_only: Must exist in TensorRT-RTX.
        untyped: Uses that cannot be followed further: an attribute of something undeclared.
    """

    common: set[str] = field(default_factory=set)
    rtx_only: set[str] = field(default_factory=set)
    untyped: set[str] = field(default_factory=set)


class Api:
    """The protocols, by name."""

    def __init__(self, *sources: str) -> None:
        self.members: dict[str, dict[str, Member]] = {}
        trees = [ast.parse(source) for source in sources]
        classes = [c for t in trees for c in t.body if isinstance(c, ast.ClassDef)]
        self.names = {c.name for c in classes if any("Protocol" in ast.unparse(b) for b in c.bases)}
        for cls in (c for c in classes if c.name in self.names):
            inherited: dict[str, Member] = {}
            for base in cls.bases:
                inherited |= self.members.get(ast.unparse(base), {})
            self.members[cls.name] = inherited | dict(self._own(cls))

    def _own(self, cls: ast.ClassDef) -> list[tuple[str, Member]]:
        own = []
        for item in cls.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                text = ast.unparse(item.annotation)
                made = re.fullmatch(r"Callable\[\[.*], (.+)]", text)
                gives = self.kind_of(made[1]) if made else None
                kind = None if made else self.kind_of(text)
                own.append((item.target.id, Member(kind, gives, cls.name.startswith("Rtx"))))
            elif isinstance(item, ast.FunctionDef):
                gives = self.kind_of(ast.unparse(item.returns)) if item.returns else None
                own.append((item.name, Member(None, gives, cls.name.startswith("Rtx"))))
        return own

    def kind_of(self, annotation: str) -> str | None:
        """Return the protocol an annotation names, optional or not."""
        name = annotation.strip("'\"").removesuffix(" | None").removeprefix("api.")
        return name if name in self.names else None

    def instance(self, kind: str | None) -> Value | None:
        """Return an object of a protocol's type."""
        return None if kind is None else Value(self.path_of(kind), kind)

    def path_of(self, kind: str) -> str:
        """Return the name in the bindings of what a protocol describes."""
        if kind in MODULE_CLASSES:
            return ""
        for owner, members in self.members.items():
            for name, member in members.items():
                if member.kind == kind and owner != kind and kind.endswith(("Enum", "Class")):
                    return f"{self.path_of(owner)}.{name}".lstrip(".")
        return kind.removeprefix("Rtx")

    def declared(self) -> set[str]:
        """Return the path of every attribute the protocols declare."""
        return {
            f"{self.path_of(kind)}.{name}".lstrip(".")
            for kind, members in self.members.items()
            for name in members
            if name != "__buffer__"  # the C buffer protocol shows as an attribute from 3.12 only
        }

    def attribute(self, value: Value, name: str) -> Value:
        """Follow one attribute."""
        path = f"{value.path}.{name}".lstrip(".")
        member = self.members.get(value.kind or "", {}).get(name)
        if member is None:
            return Value(path, is_declared=False, rtx_only=value.rtx_only)
        return Value(path, member.kind, member.gives, True, value.rtx_only or member.rtx_only)


class _Finder(ast.NodeVisitor):
    def __init__(self, api: Api, uses: Uses, returns: dict[str, str]) -> None:
        self.api, self.uses, self.returns = api, uses, returns
        self.scope: dict[str, Value | None] = {}
        self.own: dict[str, Value | None] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = self.scope
        self.scope = dict(outer)
        arguments = node.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            self.scope[argument.arg] = self._annotated(argument.annotation)
        self.generic_visit(node)
        self.scope = outer

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self.own = self.own, {}
        for base in node.bases:
            value = self._follow(base)
            if value is not None:
                methods = (m.name for m in node.body if isinstance(m, ast.FunctionDef))
                self.uses.common |= {f"{value.path}.{m}" for m in methods}
        for inner in ast.walk(node):
            if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Attribute):
                self.own[inner.target.attr] = self._annotated(inner.annotation)
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                self.own[item.target.id] = self._annotated(item.annotation)
        self.generic_visit(node)
        self.own = outer

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for one, value in zip(target.elts, node.value.elts, strict=True):
                    self._bind(one, self._follow(value))
            else:
                self._bind(target, self._follow(node.value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.generic_visit(node)
        self._bind(node.target, self._annotated(node.annotation))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        self._follow(node)

    def _bind(self, target: ast.expr, value: Value | None) -> None:
        if isinstance(target, ast.Name):
            self.scope[target.id] = value

    def _annotated(self, annotation: ast.expr | None) -> Value | None:
        if annotation is None:
            return None
        text = annotation.value if isinstance(annotation, ast.Constant) else ast.unparse(annotation)
        return self.api.instance(self.api.kind_of(str(text)))

    def _follow(self, node: ast.expr) -> Value | None:
        if isinstance(node, ast.Name):
            return self.scope.get(node.id)
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                return self.own.get(node.attr)
            return self._use(self._follow(node.value), node.attr)
        if isinstance(node, ast.Call):
            return self._result(node)
        return None

    def _use(self, value: Value | None, name: str) -> Value | None:
        if value is None or (value.is_declared and value.kind is None and value.gives is None):
            return None
        if value.path.endswith("()"):
            self.uses.untyped.add(f"{value.path}.{name}")
            return None
        found = self.api.attribute(value, name)
        (self.uses.rtx_only if found.rtx_only else self.uses.common).add(found.path)
        return found

    def _result(self, node: ast.Call) -> Value | None:
        if isinstance(node.func, ast.Name):
            if node.func.id == "cast":
                return self._annotated(node.args[0])
            if node.func.id in self.returns:
                return self.api.instance(self.api.kind_of(self.returns[node.func.id]))
        value = self._follow(node.func)
        if value is None or value.is_declared:
            return None if value is None else self.api.instance(value.gives)
        return Value(f"{value.path}()", is_declared=False)


def find_uses(api: Api, *sources: str) -> Uses:
    """Return what the sources of the TensorRT backend use of the bindings."""
    trees = [ast.parse(source) for source in sources]
    returns = {
        f.name: ast.unparse(f.returns)
        for tree in trees
        for f in tree.body
        if isinstance(f, ast.FunctionDef) and f.returns is not None
    }
    uses = Uses()
    for tree in trees:
        _Finder(api, uses, returns).visit(tree)
    return uses
