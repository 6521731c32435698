"""All convolutions of ours and their gradients, against lax.conv and PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.models.layers import Conv, convolve, convolve_directly
from train.models.transposed import TransposedConv, transpose_directly, transposed_convolve

pytestmark = pytest.mark.usefixtures("compiled_as_users_do")


def plain_convolve(images, kernel, *, stride=1, padding="same"):
    margins = [(size // 2 if padding == "same" else 0,) * 2 for size in kernel.shape[:2]]
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        (stride, stride),
        margins,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def plain_transposed(images, kernel, *, stride):
    """The gradient of a convolution, which is what the transposed one is."""
    pads = [size // 2 if stride == 2 else 0 for size in kernel.shape[:2]]
    height, width = (
        2 * size if stride == 2 else size + taps - 1
        for size, taps in zip(images.shape[1:3], kernel.shape[:2], strict=True)
    )

    def forwards(result):
        return jax.lax.conv_general_dilated(
            result,
            kernel.swapaxes(2, 3),
            (stride, stride),
            [(pad, pad) for pad in pads],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    result = jnp.zeros((len(images), height, width, kernel.shape[-1]), images.dtype)
    return jax.vjp(forwards, result)[1](images)[0]


MEMBERS = {
    "same": (convolve, plain_convolve, {}),
    "stride 2": (convolve, plain_convolve, {"stride": 2}),
    "valid": (convolve, plain_convolve, {"padding": "valid"}),
    "transposed, stride 2": (transposed_convolve, plain_transposed, {"stride": 2}),
    "transposed, stride 1": (transposed_convolve, plain_transposed, {"stride": 1}),
}

# (n, h, w, c), (kernel height, kernel width, c, d)
SHAPES = [
    ((2, 6, 9, 5), (5, 5, 5, 7)),
    ((1, 7, 5, 6), (5, 3, 6, 2)),  # odd sides, few channels out
    ((3, 8, 7, 3), (3, 5, 3, 4)),  # few channels in
    ((2, 9, 8, 4), (7, 1, 4, 5)),
]
TINY = [((2, 1, 1, 6), (5, 5, 6, 5)), ((2, 2, 2, 5), (5, 5, 5, 6))]
CASES = [(member, *case) for member in MEMBERS for case in SHAPES[1:3]] + [
    ("stride 2", *SHAPES[3]),
    ("transposed, stride 2", *SHAPES[3]),
    ("stride 2", *TINY[0]),
    ("transposed, stride 2", *TINY[1]),
    ("transposed, stride 1", *TINY[0]),
    ("same", (2, 9, 7, 5), (3, 3, 5, 6)),
    ("same", (2, 2, 2, 6), (3, 3, 6, 5)),
    ("same", (2, 1, 1, 6), (3, 3, 6, 5)),
    ("same", (1, 4, 1, 5), (3, 3, 5, 5)),
    ("same", (2, 6, 7, 5), (5, 1, 5, 3)),
    ("same", (2, 6, 7, 5), (1, 1, 5, 3)),
]

every_member = pytest.mark.parametrize("member", MEMBERS)


def functions(member):
    ours, plain, options = MEMBERS[member]
    return functools.partial(ours, **options), functools.partial(plain, **options)


def arrays(shape, kernel_shape, function, dtype=np.float32):
    random = np.random.default_rng(3)
    images, kernel = (jnp.asarray(random.normal(size=s), dtype) for s in (shape, kernel_shape))
    cotangent = random.normal(size=jax.eval_shape(function, images, kernel).shape)
    return images, kernel, jnp.asarray(cotangent, dtype)


def value_and_gradients(function, images, kernel, cotangent):
    value, pull_back = jax.vjp(function, images, kernel)
    return value, *pull_back(cotangent)


def assert_agree(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("member", "shape", "kernel_shape"), CASES)
def test_value_and_gradients_are_lax_convs(member, shape, kernel_shape):
    ours, plain = functions(member)
    given = arrays(shape, kernel_shape, plain)
    both = jax.jit(lambda *a: [value_and_gradients(function, *a) for function in (ours, plain)])
    assert_agree(*both(*given))


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("conv_k3_s1_same", "same"),
        ("conv_k5_s2", "stride 2"),
        ("conv_k5_valid", "valid"),
        ("transpose_k5_s2_half", "transposed, stride 2"),
        ("transpose_k5_s1_valid", "transposed, stride 1"),
    ],
)
def test_value_agrees_with_pytorch(name, member, vectors):
    images, kernel, expected = (
        vectors[f"{name}_{part}"].astype(np.float32) for part in ("input", "kernel", "output")
    )
    found = functions(member)[0](jnp.asarray(images), jnp.asarray(kernel))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@every_member
def test_other_platforms_get_the_same(member):
    """What GPUs run, lowered here: the direct forms beside PyTorch's definition."""
    ours, plain = functions(member)
    images, kernel, _ = arrays(*SHAPES[0], plain)
    exported = jax.export.export(jax.jit(ours), platforms=["cuda"])(images, kernel)
    text = exported.mlir_module()
    assert text.count("stablehlo.convolution") == 1
    assert ("lhs_dilate = [2, 2]" in text) == (member == "transposed, stride 2")
    direct = {
        "same": lambda x, k: convolve_directly(x, k, (2, 2), 1),
        "stride 2": lambda x, k: convolve_directly(x, k, (2, 2), 2),
        "valid": lambda x, k: convolve_directly(x, k, (0, 0), 1),
        "transposed, stride 2": lambda x, k: transpose_directly(x, k, 2),
        "transposed, stride 1": lambda x, k: transpose_directly(x, k, 1),
    }[member]
    np.testing.assert_allclose(direct(images, kernel), plain(images, kernel), atol=1e-4)


@pytest.mark.parametrize(
    ("member", "axes"),
    [
        ("same", (0, 0)),
        ("stride 2", (0, 0)),
        ("transposed, stride 1", (0, 0)),
        ("valid", (0, None)),
        ("transposed, stride 2", (None, 0)),
    ],
)
def test_mapped_over_images_and_kernels_equals_looped(member, axes):
    ours, plain = functions(member)
    one = arrays(*SHAPES[0], plain)
    images, kernel, cotangent = (jnp.stack([array, 2 * array[::-1], array + 1]) for array in one)
    images = images if axes[0] == 0 else one[0]
    kernel = kernel if axes[1] == 0 else one[1]

    def run(*given):
        return value_and_gradients(ours, *given)

    looped = jax.jit(run)
    expected = [
        looped(
            images if axes[0] is None else images[i],
            kernel if axes[1] is None else kernel[i],
            cotangent[i],
        )
        for i in range(3)
    ]
    found = jax.jit(jax.vmap(run, in_axes=(*axes, 0)))(images, kernel, cotangent)
    assert_agree(found, [jnp.stack(each) for each in zip(*expected, strict=True)])


def test_mapped_twice_equals_looped():
    """Kernels of classes outside, images sharing one inside; the gradient of the whole."""
    images, kernel, _ = arrays(*SHAPES[0], functools.partial(plain_convolve, stride=2))
    images, kernels = jnp.stack([images, images[::-1]]), jnp.stack([kernel, -2 * kernel])

    def loss(function, kernels):
        inner = jax.vmap(lambda x, k: jnp.sin(function(x[None], k, stride=2)).sum(), (0, None))
        return jax.vmap(inner)(images, kernels).sum()

    found = jax.jit(jax.grad(functools.partial(loss, convolve)))(kernels)
    expected = jax.jit(jax.grad(functools.partial(loss, plain_convolve)))(kernels)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("member", ["same", "transposed, stride 2"])
def test_inside_a_compiled_loop_it_is_the_same(member):
    ours, plain = functions(member)
    images, kernel, cotangent = arrays(*SHAPES[0], plain)

    def descend(function):
        def body(_, kernel):
            return kernel - 0.01 * value_and_gradients(function, images, kernel, cotangent)[2]

        return jax.jit(lambda: jax.lax.fori_loop(0, 3, body, kernel))()

    np.testing.assert_allclose(descend(ours), descend(plain), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("member", ["same", "valid", "transposed, stride 2"])
def test_bfloat16_stays_bfloat16_and_near(member):
    ours, plain = functions(member)
    given = arrays(*SHAPES[0], plain, dtype=jnp.bfloat16)
    found = jax.jit(lambda *a: value_and_gradients(ours, *a))(*given)
    exact = [array.astype(jnp.float32) for array in given]
    expected = jax.jit(lambda *a: value_and_gradients(plain, *a))(*exact)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == jnp.bfloat16
        # 8 bits of mantissa, over sums of up to 175 products.
        np.testing.assert_allclose(one.astype(jnp.float32), other, rtol=0.05, atol=0.4)


def test_the_modules_pass_their_options_on():
    images, _, _ = arrays(*SHAPES[0], plain_convolve)
    initial = jax.nn.initializers.constant(0.5)
    for layer, size in [
        (Conv(4, 3, kernel_init=initial), (6, 9)),
        (Conv(4, 5, stride=2, kernel_init=initial), (3, 5)),
        (Conv(4, 5, padding="valid", kernel_init=initial), (2, 5)),
        (TransposedConv(4, stride=2, kernel_init=initial), (12, 18)),
        (TransposedConv(4, stride=1, kernel_size=3, use_bias=False, kernel_init=initial), (8, 11)),
    ]:
        result, variables = jax.jit(layer.init_with_output)(jax.random.key(0), images)
        assert result.shape == (2, *size, 4)
        params = variables["params"]
        shifted = jax.tree.map(lambda leaf: leaf + (0.5 if leaf.ndim == 1 else 0), variables)
        found = jax.jit(layer.apply)(shifted, images)
        np.testing.assert_allclose(found, result + 0.5 * ("bias" in params), atol=1e-4)
        assert set(params) == {"kernel", "bias"} - ({"bias"} if size == (8, 11) else set())
        assert (params["kernel"] == 0.5).all()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("run", "kernel_shape", "message"),
    [
        (convolve, (4, 5, 5, 7), "odd height and width, got 4×5"),
        (functools.partial(convolve, stride=3), (5, 5, 5, 7), "got 3 and 'same'"),
        (functools.partial(convolve, stride=2, padding="valid"), (5, 5, 5, 7), "got 2 and 'valid'"),
        (functools.partial(convolve, padding="valid"), (7, 5, 5, 7), "6×9 are smaller .* 7×5"),
        (functools.partial(transposed_convolve, stride=2), (5, 2, 5, 7), "got 5×2"),
        (functools.partial(transposed_convolve, stride=4), (5, 5, 5, 7), "1 or 2, got 4"),
    ],
)
def test_what_is_not_offered_is_refused(run, kernel_shape, message):
    with pytest.raises(ValueError, match=message):
        run(jnp.zeros((2, 6, 9, 5)), jnp.zeros(kernel_shape))


@pytest.mark.parametrize(
    ("member", "shape", "kernel_shape"),
    [
        ("same", (1, 4, 5, 96), (3, 3, 96, 100)),
        ("same", (1, 2, 2, 256), (3, 3, 256, 100)),
        ("valid", (2, 8, 7, 130), (5, 5, 130, 120)),
        ("transposed, stride 1", (2, 8, 7, 130), (5, 5, 130, 120)),
    ],
)
def test_many_channels_go_through_tiles_there_and_back(member, shape, kernel_shape):
    """Also where results are more than pixels, and tiles of the kernel's gradient of the pixels."""
    ours, plain = functions(member)
    images, kernel, cotangent = arrays(shape, kernel_shape, plain)
    found, expected = (
        jax.jit(functools.partial(value_and_gradients, function))(images, kernel / 57, cotangent)
        for function in (ours, plain)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=4e-5 * float(other.std()))
