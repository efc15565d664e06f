"""A segmenter in a file: pickled, saved, loaded."""

import copy
import warnings
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from alseg._version import __version__
from alseg.files import read_json
from alseg.network import (
    check_encoder_name,
    foreign_package,
    forked_torch_rng,
    is_foreign,
    normalization_of,
)
from alseg.segmenter.assembly import flat_callbacks, shared_callbacks
from alseg.segmenter.checks import check_param_names
from alseg.segmenter.object_predictions import ObjectSegmenter
from alseg.segmenter.option_values import same_value
from alseg.segmenter.parameters import WholeNetwork, as_network, with_fields
from alseg.segmenter.saving import (
    RECORD,
    UNKNOWN,
    describe_params,
    lost_criterion,
    read_model,
    reading,
    take_normalization,
    write_model,
)
from alseg.training import resolve_device
from alseg.validation import message


class SavedSegmenter(ObjectSegmenter):
    """A segmenter with `save` and `load`."""

    def __getstate__(self):
        state = super().__getstate__()
        state.pop("_run", None)  # of a fit that goes on, which a callback may pickle
        return state

    def __deepcopy__(self, memo):
        # Not by `__getstate__`, which pickles: a loss that is a lambda can be copied and no more.
        model = memo[id(self)] = type(self).__new__(type(self))
        own = {name: value for name, value in vars(self).items() if name != "_run"}
        told = flat_callbacks(value for name, value in own.items() if name.startswith("callbacks"))
        memo.update({id(one): shared_callbacks(one) for one in told})
        vars(model).update(copy.deepcopy(own, memo))
        return model

    def __setstate__(self, state):
        state = dict(state)
        device = state["device"]
        state["device"] = state.get("device_", "cpu")
        super().__setstate__(state)
        if "device_" in state:
            self.device_ = self.__dict__["device"]  # the CPU, where the GPU of before is not there
        self.__dict__["device"] = device

    def save(self, path):
        """Write the fitted model to a folder: weights as safetensors, parameters as JSON.

        The folder is written beside and moved into place. Optimizer state is not saved.

        Parameters
        ----------
        path : str or Path
            A new folder, or one that `save` wrote before, which is replaced.

        Raises
        ------
        NotFittedError
            If it is not fitted.
        ValueError
            If `path` exists and is something else, or a parameter of the network was changed
            after the fit.
        """
        self._check_fitted()
        self._check_built()
        params, left_out = describe_params(
            self.get_params(deep=False), type(self)().get_params(deep=False)
        )
        record = {
            "version": __version__,
            "params": params,
            "left_out": left_out,
            "classes": self.classes_.tolist(),
            "classes_dtype": self.classes_.dtype.str,
            "canvas": list(self.canvas_),
            "n_channels": self.n_channels_,
            "multilabel": self.multilabel_,
            "has_masks": self.has_masks_,
            "threshold": self.threshold_,
            "min_object_size": self.min_object_size_,
            "n_steps": self.n_steps_,
            "encoder_package": foreign_package(self.encoder),
            "held_out": sorted(self.held_out_),
            "trained_on": [UNKNOWN] if self.trained_on_ is None else sorted(self.trained_on_),
        }
        write_model(path, record, self._network.state_dict())

    @classmethod
    def load(cls, path, device="auto", **params):
        """Read a model that `save` wrote; nothing in it is executed.

        Parameters
        ----------
        path : str or Path
        device : str, default="auto"
        **params
            Parameters that JSON could not hold, such as an encoder module (an error names those
            that are needed), and those that replace the saved ones, such as
            ``schedule__start_from=None``.

        Returns
        -------
        JointCAMSegmenter

        Raises
        ------
        FileNotFoundError, ValueError
            If the folder is not a saved model.
        """
        saved, left_out, fitted, state = read_model(path)
        saved, params = _with_code(saved, left_out, params)
        # A field is given where its object is, too.
        ignored = [
            name for name in sorted(left_out - set(params)) if name.partition("__")[0] not in params
        ]
        if ignored:
            warnings.warn(f"Not in the saved model, so at their defaults: {ignored}.", stacklevel=2)
        model = cls(**with_fields({**saved, "device": device, **params}))
        check_param_names(model)
        for name in ("module", "criterion", "optimizer"):
            if not callable(getattr(model, name)):
                raise ValueError(message(name, "a class", getattr(model, name)))
        n_steps = fitted.pop("n_steps_")
        for name, value in fitted.items():
            setattr(model, name, value)
        weights, network = model.encoder_weights, model.network
        if is_foreign(model.encoder):  # its package may not be here
            check_encoder_name(model.encoder)
        measured = same_value(as_network(network).normalize, "auto")
        if measured:
            # Of a package's own weights the numbers are the saved ones: to ask it may download.
            own = None if str(weights) == "pretrained" else weights
            model.set_params(network__normalize=normalization_of(model.encoder, own))
        model.encoder_weights = None  # all weights come from the saved ones
        try:
            # Without code of the caller's all that can be wrong is the folder.
            own = {"encoder", "network", "module", "criterion", "optimizer"} & params.keys()
            with (
                nullcontext() if own else reading(path),
                forked_torch_rng(0, resolve_device(device)),
            ):
                model.initialize()
        finally:
            model.encoder_weights, model.network = weights, network
        model._built = model._built_from()
        if measured:  # it may have started from a model of another one
            take_normalization(model._network, state)
        model._initialize_criterion()  # anew: its class_scale depends on `encoder_weights`
        _take_weights(model, state, path)
        model.module_.eval()
        model.n_steps_ = n_steps
        return model


def _take_weights(model, state, path):
    """Put saved weights into the network, or say what of them does not fit."""
    try:
        model.module_.load_state_dict(state)
    except RuntimeError as error:
        problem = str(error).splitlines()[-1].strip()
        if is_foreign(model.encoder):  # which another version may build in another way
            then = read_json(Path(path).expanduser() / RECORD).get("encoder_package")
            problem += f" It was saved with {then}; here is {foreign_package(model.encoder)}."
        rule = "a saved model with the weights of its network"
        raise ValueError(message("path", rule, str(path), problem)) from error


def _with_code(saved, left_out, params):
    """Saved parameters and given ones, of which those that are code must be there."""
    for name in ("encoder", "network__module", "network", "module", "optimizer"):
        argument = name.partition("__")[0]
        if name in left_out - set(params) and argument not in params:
            raise ValueError(
                f"This model was saved with its own {argument}, which is code and is not in the"
                f" file: load(path, {argument}=...) with the same one."
            )
    if "criterion" in left_out - set(params):  # its options mean nothing to another
        saved = {k: v for k, v in saved.items() if not k.startswith("criterion__")}
        saved["criterion"] = lost_criterion  # no other: a fit would quietly go on with it
        left_out.discard("criterion")
    network, given = saved.get("network"), as_network(params.get("network"))
    alone = isinstance(given, WholeNetwork) and given is not params["network"]
    if alone and isinstance(network, WholeNetwork):  # how it is used stands in the file
        params = {**params, "network": replace(network, module=given.module)}
    return saved, params
