"""The Lux model and its arithmetic: decoders, noise, inference, prediction, and its file.

Imports store and what it stands on.

Its modules, from what users call to what all rests on:

- Functions of users: `infer`, `predict` and `select`. `arguments` are what they take.
- The model: `lux` is one, and each `output` of it has `decoders` on `features`, of which `network`
  is one kind, and `noise`, which may be `correlated`: then `correlation` and `median` belong to it.
  All outputs share `priors`, `nuisances` and the `calibration` of errors. `summary` says what a
  model is in words; `file` and `output_file` store it.
- Inference, prepared once and then asked: `inference`. `pose` makes a `problem` of a model, with
  `designs` of what is given and their `components`, a `head` of each kind of labels, and for
  nuisances `distort`, `distortion` and `splines`. `presence` says which outputs a star has.
- The kernel: `kernel` takes the stars in `blocks` by one of the three ways below. `members` puts
  those of an ensemble together, and `results` are the variables of a catalogue.
- Linear models: `gaussian`, the fast way of which takes `coarse` products and has `refine` make
  them exact.
- Linear models with nuisances: `marginalise`.
- All others: `search`. Where stars have any noise it takes an `observation` of each, steps of
  `gauss_newton`, and the terms of the `posterior`; where most latents are linear, `eliminate` and
  `separable`. Where noise differs by its level alone it takes `levels`: `landmarks` with their
  `products`, `leads`, `ascent`, `climb` and `groups`. `maxima` tells whether that serves a model.
  `moments` are those of the labels in the end.
- Arithmetic: `linalg` for many stars at once, `by_star` star by star.
- JAX: `jit` is the one door. `programs`, `lowered` and `kept` keep what takes long to make, and
  `threads` are counted.
"""
