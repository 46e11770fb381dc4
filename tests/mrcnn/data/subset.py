"""A few images of a COCO-format folder as a folder of their own."""

import json
import shutil


def eight_images(source, target, count=8):
    """The first images of `source` with three to eight objects, for training and validation."""
    data = json.loads((source / "annotations/instances_train.json").read_text())
    objects = {}
    for annotation in data["annotations"]:
        objects.setdefault(annotation["image_id"], []).append(annotation)
    fit = [
        image
        for image in data["images"]
        if 3 <= len(objects.get(image["id"], [])) <= 8
        and not any(a["iscrowd"] for a in objects[image["id"]])
        and min(a["area"] for a in objects[image["id"]]) > 800
    ][:count]
    assert len(fit) == count
    (target / "annotations").mkdir(parents=True)
    (target / "images").mkdir()
    for image in fit:
        shutil.copy(source / "images" / image["file_name"], target / "images")
    data["images"] = fit
    data["annotations"] = [a for image in fit for a in objects[image["id"]]]
    for split in ("train", "val"):
        (target / f"annotations/instances_{split}.json").write_text(json.dumps(data))
    return target
