"""Signed-distance fields, ray marched on the CPU: the kernels behind :mod:`.render`.

Distance functions after Inigo Quilez, "distance functions"; soft shadows after his "soft shadows
in raymarched SDFs". All lengths are world units, all colours linear RGB until ``_gamma``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from pipelines.toybox.shapes import ROLES

_FAR = 60.0
_SKY, _GROUND, _WALL = -1, -2, -3
_GRASS, _SNOW, _WOOD, _TILES, _STUDIO = 0, 2, 3, 4, 7  # places with a ground of their own
_METAL, _STRIPED, _DOTTED = 1, 2, 3
_ROLE_ALBEDO = np.array(list(ROLES.values()), np.float32)
_f = np.float32
_jit = njit(
    fastmath={"contract", "afn", "arcp", "nsz"}, cache=True, nogil=True, error_model="numpy"
)


class Solids(NamedTuple):
    """P primitives of N toys, in world space. See :mod:`.shapes` for their meaning."""

    kinds: np.ndarray  # (P,) int32
    centres: np.ndarray  # (P, 3) float32
    turns: np.ndarray  # (P, 3, 3) float32, world from primitive
    sizes: np.ndarray  # (P, 4) float32
    starts: np.ndarray  # (N + 1,) int32, where each toy's primitives begin
    spheres: np.ndarray  # (N, 4) float32, bounding spheres: x, y, z, radius


class Surfaces(NamedTuple):
    """What the primitives and toys are made of."""

    roles: np.ndarray  # (P,) int32
    owners: np.ndarray  # (P,) int32, the toy of each primitive
    origins: np.ndarray  # (N, 3) float32
    yaws: np.ndarray  # (N, 3, 3) float32
    scales: np.ndarray  # (N,) float32
    albedos: np.ndarray  # (N, 3) float32
    finishes: np.ndarray  # (N,) int32


class Light(NamedTuple):
    """A place: its colours, sun, fog, wall and ground."""

    colours: np.ndarray  # (5, 3) float32: ground, sky low, sky high, sun, ambient
    sun: np.ndarray  # (3,) float32, unit vector to the sun
    fog: float
    wall: float
    place: int
    seed: int


@_jit
def _distance(kind, a, b, c, d, x, y, z):
    """Signed distance of point (x, y, z), in the primitive's own frame."""
    if kind == 0:  # ellipsoid
        k0 = math.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
        k1 = math.sqrt((x / (a * a)) ** 2 + (y / (b * b)) ** 2 + (z / (c * c)) ** 2)
        return k0 * (k0 - _f(1)) / max(k1, _f(1e-6))
    if kind == 1:  # rounded box
        qx, qy, qz = abs(x) - a + d, abs(y) - b + d, abs(z) - c + d
        mx, my, mz = max(qx, _f(0)), max(qy, _f(0)), max(qz, _f(0))
        return math.sqrt(mx * mx + my * my + mz * mz) + min(max(qx, qy, qz), _f(0)) - d
    if kind == 2:  # rounded cylinder
        qx, qy = math.sqrt(x * x + z * z) - a + c, abs(y) - b + c
        mx, my = max(qx, _f(0)), max(qy, _f(0))
        return min(max(qx, qy), _f(0)) + math.sqrt(mx * mx + my * my) - c
    if kind == 3:  # capped cone
        qx = math.sqrt(x * x + z * z)
        cap = a if y < 0 else b
        cax, cay = qx - min(qx, cap), abs(y) - c
        k1x, k1y = b, c
        k2x, k2y = b - a, _f(2) * c
        along = ((k1x - qx) * k2x + (k1y - y) * k2y) / (k2x * k2x + k2y * k2y)
        along = min(max(along, _f(0)), _f(1))
        cbx, cby = qx - k1x + k2x * along, y - k1y + k2y * along
        sign = _f(-1) if cbx < 0 and cay < 0 else _f(1)
        return sign * math.sqrt(min(cax * cax + cay * cay, cbx * cbx + cby * cby))
    if kind == 4:  # torus
        q = math.sqrt(x * x + z * z) - a
        return math.sqrt(q * q + y * y) - b
    if kind == 5:  # capsule
        y = y - min(max(y, -a), a)
        return math.sqrt(x * x + y * y + z * z) - b
    side = (abs(x) * b + y * a - a * b) / math.sqrt(a * a + b * b)  # prism
    return max(side, max(-y, abs(z) - c))


@_jit
def _nearest(x, y, z, solids, start, stop):
    """Distance to the nearest primitive among start … stop − 1, and which."""
    best = _f(1e9)
    which = -1
    for i in range(start, stop):
        at = solids.centres[i]
        dx, dy, dz = x - at[0], y - at[1], z - at[2]
        r = solids.turns[i]
        px = r[0, 0] * dx + r[1, 0] * dy + r[2, 0] * dz
        py = r[0, 1] * dx + r[1, 1] * dy + r[2, 1] * dz
        pz = r[0, 2] * dx + r[1, 2] * dy + r[2, 2] * dz
        s = solids.sizes[i]
        d = _distance(solids.kinds[i], s[0], s[1], s[2], s[3], px, py, pz)
        if d < best:
            best = d
            which = i
    return best, which


@_jit
def _field(x, y, z, solids):
    """Distance to all toys, exact when near, a lower bound when far."""
    best = _f(1e9)
    for j in range(len(solids.spheres)):
        ball = solids.spheres[j]
        dx, dy, dz = x - ball[0], y - ball[1], z - ball[2]
        bound = math.sqrt(dx * dx + dy * dy + dz * dz) - ball[3]
        if bound > _f(0.12):
            best = min(best, bound)
        elif bound < best:
            d, _ = _nearest(x, y, z, solids, solids.starts[j], solids.starts[j + 1])
            best = min(best, d)
    return best


@_jit
def _hash(i, j, seed):
    n = np.uint32(i * 374761393 + j * 668265263 + seed * 974711 + 1274126177)
    n = np.uint32((n ^ (n >> np.uint32(13))) * np.uint32(1274126177))
    return _f((n ^ (n >> np.uint32(16))) & np.uint32(0xFFFF)) / _f(65535)


@_jit
def _noise(x, y, seed):
    """Smooth value noise in 0 … 1."""
    i, j = math.floor(x), math.floor(y)
    u, v = _f(x - i), _f(y - j)
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    low = _hash(i, j, seed) * (1 - u) + _hash(i + 1, j, seed) * u
    high = _hash(i, j + 1, seed) * (1 - u) + _hash(i + 1, j + 1, seed) * u
    return _f(low * (1 - v) + high * v)


@_jit
def _ground_tone(place, x, z, seed):
    """Brightness factor of the ground at (x, z)."""
    if place == _WOOD:  # planks that run to the back
        plank = math.floor(x / 0.34)
        board = math.floor(z / 2.2 + _hash(plank, 3, seed))
        tone = 0.78 + 0.40 * _hash(plank, board, seed)
        grain = 0.90 + 0.2 * _noise(x * 14, z * 1.2, seed)
        edge = abs(x / 0.34 - plank - 0.5)
        return _f(tone * grain * (0.55 if edge > 0.465 else 1.0))
    if place == _TILES:
        odd = (math.floor(x / 0.42) + math.floor(z / 0.42)) & 1
        return _f(0.30 if odd else 1.0)
    if place == _STUDIO:
        return _f(1.0)
    rough = 0.6 * _noise(x * 2.1, z * 2.1, seed) + 0.4 * _noise(x * 6.5, z * 6.5, seed + 7)
    depth = 0.55 if place == _GRASS else (0.14 if place == _SNOW else 0.30)
    return _f(1.0 + depth * (rough - 0.5))


@_jit
def _sky(dy, colours):
    up = math.sqrt(min(max(dy * _f(2.2), _f(0)), _f(1)))
    low, high = colours[1], colours[2]
    return (
        low[0] + (high[0] - low[0]) * up,
        low[1] + (high[1] - low[1]) * up,
        low[2] + (high[2] - low[2]) * up,
    )


@_jit
def _shadow(x, y, z, sun, solids):
    """Share of the sun that reaches a point, soft at the rim."""
    near = False  # does the ray pass close enough to any toy for shadow or penumbra?
    for j in range(len(solids.spheres)):
        ball = solids.spheres[j]
        cx, cy, cz = ball[0] - x, ball[1] - y, ball[2] - z
        along = max(cx * sun[0] + cy * sun[1] + cz * sun[2], _f(0))
        gap = cx * cx + cy * cy + cz * cz - along * along
        near = near or gap < (ball[3] + _f(0.12) * along + _f(0.02)) ** 2
    if not near:
        return _f(1.0)
    light = _f(1.0)
    t = _f(0.03)
    for _ in range(40):
        d = _field(x + sun[0] * t, y + sun[1] * t, z + sun[2] * t, solids)
        light = min(light, _f(9.0) * d / t)
        if light < _f(0.02):
            return _f(0.0)
        t += max(d, _f(0.02))
        if t > _f(5.0):
            break
    return light * light * (_f(3) - _f(2) * light)


@_jit
def _openness(x, y, z, nx, ny, nz, on_toy, solids):
    """Ambient occlusion: 1 in the open, down to 0.25 in a nook."""
    dark, weight = _f(0.0), _f(1.0)
    for k in range(1, 5):
        h = _f(0.07) * k
        d = _field(x + nx * h, y + ny * h, z + nz * h, solids)
        if on_toy:
            d = min(d, y + ny * h)
        dark += max(h - d, _f(0)) * weight
        weight *= _f(0.62)
    return max(_f(1.0) - _f(2.0) * dark, _f(0.25))


@_jit
def _normal(x, y, z, solids, start, stop):
    """Unit normal by four samples at the corners of a tetrahedron."""
    e = _f(0.002)
    a, _ = _nearest(x + e, y - e, z - e, solids, start, stop)
    b, _ = _nearest(x - e, y - e, z + e, solids, start, stop)
    c, _ = _nearest(x - e, y + e, z - e, solids, start, stop)
    d, _ = _nearest(x + e, y + e, z + e, solids, start, stop)
    nx, ny, nz = a - b - c + d, -a - b + c + d, -a + b - c + d
    norm = max(math.sqrt(nx * nx + ny * ny + nz * nz), _f(1e-9))
    return nx / norm, ny / norm, nz / norm


@_jit
def _paint_of(which, x, y, z, nx, nz, surfaces):
    """Albedo, shine and metalness of primitive ``which`` at a point of its surface."""
    role = surfaces.roles[which]
    if role != 0:
        colour = _ROLE_ALBEDO[role]
        return colour[0], colour[1], colour[2], _f(0.22), _f(0.0)
    toy = surfaces.owners[which]
    colour, finish, scale = surfaces.albedos[toy], surfaces.finishes[toy], surfaces.scales[toy]
    red, green, blue = colour[0], colour[1], colour[2]
    if finish == _METAL:
        return red, green, blue, _f(0.9), _f(0.62)
    ink = _f(0.05) if red + green + blue > _f(1.6) else _f(0.85)
    origin, yaw = surfaces.origins[toy], surfaces.yaws[toy]
    lx, ly, lz = (x - origin[0]) / scale, (y - origin[1]) / scale, (z - origin[2]) / scale
    inked = False
    if finish == _STRIPED:
        band = ly / 0.26 + 0.15
        inked = band - math.floor(band) > 0.66
    elif finish == _DOTTED:
        cell = _f(0.24)
        row = math.floor(ly / cell)
        shift = 0.5 if row & 1 else 0.0
        u = (yaw[0, 0] * lx + yaw[2, 0] * lz) / cell + shift
        w = (yaw[0, 2] * lx + yaw[2, 2] * lz) / cell + shift
        # Dots on the faces that look along z, else on those that look along x.
        side = u - math.floor(u) if abs(nz) > abs(nx) else w - math.floor(w)
        inked = (side - 0.5) ** 2 + (ly / cell - row - 0.5) ** 2 < 0.082
    if inked:
        return ink, ink, ink, _f(0.22), _f(0.0)
    return red, green, blue, _f(0.22), _f(0.0)


@_jit
def _march(ox, oy, oz, dx, dy, dz, leave, solids):
    """Distance at which the ray meets a toy, or −1."""
    enter, last = _f(1e9), _f(-1.0)
    for j in range(len(solids.spheres)):  # only inside the bounding spheres
        ball = solids.spheres[j]
        cx, cy, cz = ball[0] - ox, ball[1] - oy, ball[2] - oz
        along = cx * dx + cy * dy + cz * dz
        inside = ball[3] ** 2 - (cx * cx + cy * cy + cz * cz - along * along)
        if inside > 0:
            root = math.sqrt(inside)
            enter, last = min(enter, along - root), max(last, along + root)
    t = max(enter, _f(0.05))
    leave = min(leave, last)
    for _ in range(90):
        if t >= leave:
            break
        d = _field(ox + dx * t, oy + dy * t, oz + dz * t, solids)
        if d < _f(0.0012):
            return t
        t += d * _f(0.92)
    return _f(-1.0)


@_jit
def _trace(ox, oy, oz, dx, dy, dz, solids, surfaces, light):
    """Colour (linear), distance and id of what the ray meets."""
    colours, sun = light.colours, light.sun
    t = _f(_FAR)
    ident = _SKY
    if dy < _f(-1e-4):
        t = -oy / dy
        ident = _GROUND
    if light.wall > 0 and dz < _f(-1e-4) and (-light.wall - oz) / dz < t:
        t = (-light.wall - oz) / dz
        ident = _WALL
    t_toy = _march(ox, oy, oz, dx, dy, dz, t, solids)
    hit = t_toy >= 0
    if hit:
        t = t_toy
    x, y, z = ox + dx * t, oy + dy * t, oz + dz * t
    if not hit and ident == _SKY:
        r, g, b = _sky(dy, colours)
        return r, g, b, _f(np.inf), ident
    nx, ny, nz = _f(0), _f(1), _f(0)
    shine, metal = _f(0.0), _f(0.0)
    if hit:
        _, which = _nearest(x, y, z, solids, 0, len(solids.kinds))
        ident = surfaces.owners[which]
        nx, ny, nz = _normal(x, y, z, solids, solids.starts[ident], solids.starts[ident + 1])
        red, green, blue, shine, metal = _paint_of(which, x, y, z, nx, nz, surfaces)
    elif ident == _GROUND:
        tone = _ground_tone(light.place, x, z, light.seed)
        red, green, blue = colours[0, 0] * tone, colours[0, 1] * tone, colours[0, 2] * tone
        if light.place == _TILES and tone < 0.5:
            blue *= _f(1.5)
    else:
        red, green, blue = _sky(y * _f(0.2), colours)
        nx, ny, nz = _f(0), _f(0), _f(1)
    lit = nx * sun[0] + ny * sun[1] + nz * sun[2]
    if lit > 0:
        off = _f(0.004)
        lit *= _shadow(x + nx * off, y + ny * off, z + nz * off, sun, solids)
    else:
        lit = _f(0.0)
    open_ = _openness(x, y, z, nx, ny, nz, hit, solids)
    sky_part = (_f(0.62) + _f(0.38) * ny) * open_ * _f(1.25)
    bounce = max(-ny, _f(0)) * _f(0.35) * open_
    r = red * (colours[3, 0] * lit + colours[4, 0] * sky_part + colours[0, 0] * bounce)
    g = green * (colours[3, 1] * lit + colours[4, 1] * sky_part + colours[0, 1] * bounce)
    b = blue * (colours[3, 2] * lit + colours[4, 2] * sky_part + colours[0, 2] * bounce)
    if shine > 0:
        dot = dx * nx + dy * ny + dz * nz
        rx, ry, rz = dx - 2 * dot * nx, dy - 2 * dot * ny, dz - 2 * dot * nz
        if metal > 0:  # a tinted mirror of sky and ground
            er, eg, eb = _sky(ry, colours)
            if ry <= 0:
                er, eg, eb = colours[0, 0], colours[0, 1], colours[0, 2]
                er, eg, eb = er * _f(0.7), eg * _f(0.7), eb * _f(0.7)
            keep, tint = _f(1.0) - metal, _f(1.9) * metal * open_
            r = r * keep + er * (red + _f(0.03)) * tint
            g = g * keep + eg * (green + _f(0.03)) * tint
            b = b * keep + eb * (blue + _f(0.03)) * tint
        if lit > 0:
            power = max(rx * sun[0] + ry * sun[1] + rz * sun[2], _f(0)) ** _f(24) * shine
            r, g, b = (
                r + power * colours[3, 0],
                g + power * colours[3, 1],
                b + power * colours[3, 2],
            )
    thick = light.fog
    if ident == _GROUND and light.wall == 0:  # the ground fades into the horizon
        thick = max(thick, _f(0.035))
    if thick > 0:
        clear = math.exp(-thick * max(t - _f(2.2), _f(0)))
        hr, hg, hb = colours[1, 0], colours[1, 1], colours[1, 2]
        r, g, b = hr + (r - hr) * clear, hg + (g - hg) * clear, hb + (b - hb) * clear
    return r, g, b, t, ident


@_jit
def _gamma(value):
    return min(max(value, _f(0)), _f(1)) ** _f(1 / 2.2)


@_jit
def _ray(u, v, width, height, basis, tangent):
    """Unit direction of the ray through image point (u, v) in pixels."""
    sx = _f((u / height * 2 - width / height) * tangent)
    sy = _f((1 - v / height * 2) * tangent)
    dx = basis[2, 0] + sx * basis[0, 0] + sy * basis[1, 0]
    dy = basis[2, 1] + sx * basis[0, 1] + sy * basis[1, 1]
    dz = basis[2, 2] + sx * basis[0, 2] + sy * basis[1, 2]
    norm = _f(1) / _f(math.sqrt(dx * dx + dy * dy + dz * dz))
    return _f(dx * norm), _f(dy * norm), _f(dz * norm)


@_jit
def _look(u, v, width, height, camera, basis, tangent, solids, surfaces, light):
    """What is seen through image point (u, v) in pixels: sRGB colour, distance, id."""
    dx, dy, dz = _ray(u, v, width, height, basis, tangent)
    ox, oy, oz = camera[0], camera[1], camera[2]
    r, g, b, t, ident = _trace(ox, oy, oz, dx, dy, dz, solids, surfaces, light)
    return _gamma(r), _gamma(g), _gamma(b), t, ident


@_jit
def cover(hit, camera, basis, tangent, solids):
    """Fills ``hit`` (H, W) bool with whether a pixel's middle shows a toy above the ground."""
    height, width = hit.shape
    ox, oy, oz = camera[0], camera[1], camera[2]
    for v in range(height):
        for u in range(width):
            dx, dy, dz = _ray(u + 0.5, v + 0.5, width, height, basis, tangent)
            ground = -oy / dy if dy < _f(-1e-4) else _f(_FAR)
            hit[v, u] = _march(ox, oy, oz, dx, dy, dz, _f(ground), solids) >= 0


@_jit
def _is_edge(raw, v, u):
    """Whether a pixel differs visibly from one of its four neighbours."""
    height, width, _ = raw.shape
    for dv, du in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        if 0 <= v + dv < height and 0 <= u + du < width:
            here, there = raw[v, u], raw[v + dv, u + du]
            change = abs(here[0] - there[0]) + abs(here[1] - there[1]) + abs(here[2] - there[2])
            if change > _f(0.18):
                return True
    return False


@_jit
def paint(image, depth, ids, camera, basis, tangent, solids, surfaces, light):
    """Fills ``image`` (H, W, 3) float32 sRGB, ``depth`` (H, W) float32 and ``ids`` (H, W) int32."""
    height, width = depth.shape
    raw = np.empty((height, width, 3), np.float32)
    for v in range(height):
        for u in range(width):
            r, g, b, t, ident = _look(
                u + 0.5, v + 0.5, width, height, camera, basis, tangent, solids, surfaces, light
            )
            raw[v, u, 0], raw[v, u, 1], raw[v, u, 2] = r, g, b
            depth[v, u], ids[v, u] = t, ident
    for v in range(height):
        for u in range(width):
            r, g, b = raw[v, u, 0], raw[v, u, 1], raw[v, u, 2]
            if _is_edge(raw, v, u):
                # Four more samples on a rotated grid.
                for du, dv in ((0.875, 0.625), (0.625, 0.125), (0.375, 0.875), (0.125, 0.375)):
                    sr, sg, sb, _, _ = _look(
                        u + du, v + dv, width, height, camera, basis, tangent,
                        solids, surfaces, light,
                    )  # fmt: skip
                    r, g, b = r + sr, g + sg, b + sb
                r, g, b = r * _f(0.2), g * _f(0.2), b * _f(0.2)
            image[v, u, 0], image[v, u, 1], image[v, u, 2] = r, g, b
