"""Which axes of a network's weights have a row for each label, word or character.

A network says so in `label_axes`; a training that starts from a model asks it, to add rows for what is new. A file of
its own, as networks of all tasks name it.
"""

#: by the ends of the names of weights: for each of their axes the kind of rows that it has, or None; an empty tuple
#: where a weight is computed anew
LabelAxes = dict[str, tuple[str | None, ...]]
