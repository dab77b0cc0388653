"""Which images influence is measured with, and which tell batch norm its statistics."""

from dvis.kinds.influence.options import FEW_IMAGES, MIN_IMAGES, N_IMAGES, InfluenceOptions
from dvis.models.data import ImageSet, InputTransform, load_images
from dvis.models.data.fixed_images import FixedImages, images_of_files, noise_images

N_STATISTICS = 256  # images that statistics of batch norm want


def asked_images(options: InfluenceOptions, transform: InputTransform) -> FixedImages:
    """The images that options ask for, as a model takes them.

    Raises
    ------
    FileNotFoundError
        When there are none.
    ValueError
        When they are too few.
    """
    if options.dataset is not None and options.n_images is None:
        found = _up_to(N_IMAGES, options, transform)
    else:
        found = _images(options, transform, options.n_images)
    images = FixedImages.of(found, transform)
    if len(images) < MIN_IMAGES:
        raise ValueError(
            f"there are {len(images)} images; influence is a spread over images, and needs "
            f"{MIN_IMAGES} or more, better {FEW_IMAGES}"
        )
    return images


def images_of_statistics(
    options: InfluenceOptions, images: FixedImages
) -> tuple[FixedImages, list[str]]:
    """Images for statistics of batch norm, and what is to be said where they are few.

    They are the same where those are enough, else more of the same set.
    """
    if len(images) < N_STATISTICS and not options.images:
        images = FixedImages.of(_up_to(N_STATISTICS, options, images.transform), images.transform)
    notes = []
    if len(images) < N_STATISTICS:
        notes.append(
            f"statistics of batch norm are of {len(images)} images, for there are no more; "
            f"{N_STATISTICS} are better, or --batch-norm running"
        )
    return images, notes


def said_of_few(images: FixedImages) -> list[str]:
    """What is to be said where images are few."""
    if len(images) >= FEW_IMAGES:
        return []
    return [
        f"with {len(images)} images it cannot be told well how reliable influence is; give "
        f"{FEW_IMAGES} or more"
    ]


def _up_to(n_images: int, options: InfluenceOptions, transform: InputTransform) -> ImageSet:
    """So many images of a set, or all where it has fewer."""
    try:
        return _images(options, transform, n_images)
    except ValueError:  # the set has fewer; of another reason it is said again
        return _images(options, transform, None)


def _images(options: InfluenceOptions, transform: InputTransform, n_images: int | None) -> ImageSet:
    if options.dataset is not None:
        return load_images(
            options.dataset,
            options.data_path,
            split=options.split,
            size=transform.size,
            n_samples=n_images,
            seed=options.seed,
        )
    if options.noise is not None:
        return noise_images(n_images or options.noise, options.seed, transform)
    return images_of_files(options.images, transform)
