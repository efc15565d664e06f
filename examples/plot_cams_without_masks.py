"""
Class activation maps without a mask
====================================

With class labels alone a `JointCAMSegmenter` still segments: the map that explains the class (CAM)
is scaled to [0, 1] and cut at 0.5. Here the class is a texture of the glands, so that what tells
the class lies in them.

**How to read the figure.** Each column is a test image. Above, the true glands (outline). In the
middle, the CAM of the predicted class: bright is where the network finds what speaks for it. Below,
the mask that the CAM gives. The average precision says how well the CAM ranks gland pixels above
others; a map that knows nothing scores the share of gland pixels, the *prevalence*, and 1 is
perfect. A CAM lies on the most telling parts, not on the whole object: it finds where to look, and
its outlines are poor. Four masks are worth more.

What a class label can localise depends on the data. Where the class does not sit in the objects
(benign or malignant tissue, say, is not the same question as where the glands are) a CAM may be
near chance: look before you trust it.
"""

# %%
# Fit to 60 images with class labels and no mask.

import matplotlib.pyplot as plt
import numpy as np

from alseg import JointCAMSegmenter
from alseg.datasets import make_glands
from alseg.metrics import mean_iou, pixel_average_precision
from alseg.report import outline, overlay
from alseg.segmenter import haematoxylin_masks

train = make_glands(60, image_size=(64, 96), random_state=0)
test = make_glands(24, image_size=(64, 96), random_state=1)
weak = JointCAMSegmenter(encoder="tiny", max_epochs=30, random_state=0, device="cpu")
weak.fit(train.images, train.labels)

# %%
# Everything from one pass: labels, CAMs, and the masks and pixel probabilities that come from them.

joint = weak.predict_joint(test.images)
accuracy = np.mean(joint.labels == test.labels)
precision = pixel_average_precision(joint.mask_proba[:, 1], test.masks)
print(f"class accuracy     {accuracy:.2f}")
print(f"average precision  {precision:.2f}, prevalence {test.masks.mean():.2f}")

# %%
# Beside it, a threshold on the stain, without training, and the same network with four masks.

masks = [None] * len(train)
for sample_id in range(4):
    masks[sample_id] = train.masks[sample_id]
few = JointCAMSegmenter(encoder="tiny", max_epochs=15, random_state=0, device="cpu")
few.fit(train.images, train.labels, masks=masks)

print("mean IoU: CAM       ", f"{mean_iou(joint.masks, test.masks):.2f}")
print("          stain     ", f"{mean_iou(haematoxylin_masks(test.images), test.masks):.2f}")
print("          four masks", f"{mean_iou(few.predict_masks(test.images), test.masks):.2f}")

# %%
# The first four test images.

fig, axes = plt.subplots(3, 4, figsize=(9.6, 5.4), layout="constrained")
for i, column in enumerate(axes.T):
    column[0].imshow(outline(test.images[i], test.masks[i]))
    cam = joint.cams[i, np.flatnonzero(weak.classes_ == joint.labels[i])[0]]
    column[1].imshow(overlay(test.images[i], cam))
    column[2].imshow(outline(test.images[i], joint.masks[i]))
    column[0].set_title(f"{test.labels[i]}\npredicted {joint.labels[i]}", fontsize="medium")
for ax in axes.flat:
    ax.set_axis_off()
