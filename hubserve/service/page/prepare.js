// Prepares an image as the service does: Pillow's resize in whole numbers, then order of the channels, scale, mean and std.
// Without a browser's own resize, whose filter differs from one browser to the next. Touches no page, so node can run it too.

const BITS = 22;
const SUPPORT = { bilinear: 1, bicubic: 2 };

const FILTERS = {
  bilinear: (distance) => Math.max(1 - Math.abs(distance), 0),
  bicubic: (distance) => {
    const x = Math.abs(distance);
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
  },
};

// As Python rounds: a half goes to the even number.
function round(value) {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 ? floor + 1 : floor;
}

// The source pixels and weights of `count` results from `first` on, of a side of `length` pixels resized to `resized`.
function direction(length, resized, first, count, interpolation) {
  const scale = length / resized;
  const stretch = Math.max(scale, 1);
  const reach = SUPPORT[interpolation] * stretch;
  return Array.from({ length: count }, (_, place) => {
    const centre = (first + place + 0.5) * scale;
    const begin = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const end = Math.min(Math.trunc(centre + reach + 0.5), length);
    const weights = Array.from({ length: end - begin }, (_, i) => FILTERS[interpolation]((begin + i - centre + 0.5) / stretch));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { begin, weights: weights.map((weight) => Math.trunc((weight / sum) * 2 ** BITS + (weight < 0 ? -0.5 : 0.5))) };
  });
}

const clip = (sum) => Math.min(Math.max(Math.floor(sum / 2 ** BITS), 0), 255);

// One direction of a resize; `pixels` has 3 values a pixel.
function resizeWidth({ data, width, height }, steps) {
  const found = new Uint8ClampedArray(steps.length * height * 3);
  for (let y = 0; y < height; y++) {
    steps.forEach(({ begin, weights }, x) => {
      for (let channel = 0; channel < 3; channel++) {
        let sum = 2 ** (BITS - 1);
        let at = (y * width + begin) * 3 + channel;
        for (const weight of weights) { sum += data[at] * weight; at += 3; }
        found[(y * steps.length + x) * 3 + channel] = clip(sum);
      }
    });
  }
  return { data: found, width: steps.length, height };
}

function resizeHeight({ data, width, height }, steps) {
  const found = new Uint8ClampedArray(width * steps.length * 3);
  steps.forEach(({ begin, weights }, y) => {
    for (let x = 0; x < width * 3; x++) {
      let sum = 2 ** (BITS - 1);
      let at = begin * width * 3 + x;
      for (const weight of weights) { sum += data[at] * weight; at += width * 3; }
      found[y * width * 3 + x] = clip(sum);
    }
  });
  return { data: found, width, height: steps.length };
}

// A region of the image, resized as a whole to `to`: [x, y, width, height] of the result.
function resize(image, to, region, interpolation) {
  const across = direction(image.width, to.width, region[0], region[2], interpolation);
  const down = direction(image.height, to.height, region[1], region[3], interpolation);
  // The order of Pillow 13: each direction rounds to whole numbers.
  const heightFirst = image.height - to.height > Math.max(0, 2 * (image.width - to.width));
  return heightFirst ? resizeWidth(resizeHeight(image, down), across) : resizeHeight(resizeWidth(image, across), down);
}

function cropped(image, { input_size: side, resize: shorter, interpolation }) {
  const [small, large] = [Math.min(image.width, image.height), Math.max(image.width, image.height)];
  const longer = Math.trunc((shorter * large) / small);
  const to = image.width <= image.height ? { width: shorter, height: longer } : { width: longer, height: shorter };
  return resize(image, to, [round((to.width - side) / 2), round((to.height - side) / 2), side, side], interpolation);
}

function padded(image, { input_size: side, interpolation, mean, scale, channels }) {
  const large = Math.max(image.width, image.height);
  const [width, height] = [image.width, image.height].map((length) => Math.max(1, round((length * side) / large)));
  const inner = resize(image, { width, height }, [0, 0, width, height], interpolation);
  const colour = mean.map((value) => round(Math.min(Math.max(value * scale, 0), 255)));
  if (channels === 'bgr') colour.reverse();
  const found = Uint8ClampedArray.from({ length: side * side * 3 }, (_, i) => colour[i % 3]);
  const [left, top] = [Math.floor((side - width) / 2), Math.floor((side - height) / 2)];
  for (let y = 0; y < height; y++) found.set(inner.data.subarray(y * width * 3, (y + 1) * width * 3), ((top + y) * side + left) * 3);
  return { data: found, width: side, height: side };
}

const FITS = {
  crop: cropped,
  pad: padded,
  squash: (image, { input_size: side, interpolation }) => resize(image, { width: side, height: side }, [0, 0, side, side], interpolation),
};

// RGBA to RGB: transparent parts become white, as in the service.
export function onWhite({ data, width, height }) {
  const found = new Uint8ClampedArray(width * height * 3);
  for (let i = 0; i < width * height; i++) {
    const alpha = data[4 * i + 3];
    for (let c = 0; c < 3; c++) found[3 * i + c] = alpha === 255 ? data[4 * i + c] : Math.round((data[4 * i + c] * alpha + 255 * (255 - alpha)) / 255);
  }
  return { data: found, width, height };
}

// The network's input for an image of RGB pixels, (3, input_size, input_size) as one Float32Array.
export function prepare(image, preprocess) {
  const { data } = FITS[preprocess.fit](image, preprocess);
  const plane = preprocess.input_size ** 2;
  const found = new Float32Array(3 * plane);
  const [scale, mean, std] = [Math.fround(preprocess.scale), preprocess.mean.map(Math.fround), preprocess.std.map(Math.fround)];
  for (let place = 0; place < 3; place++) {
    const channel = preprocess.channels === 'bgr' ? 2 - place : place;
    // Rounded to float32 after each step, as the service computes it.
    for (let i = 0; i < plane; i++) found[place * plane + i] = Math.fround(Math.fround(Math.fround(data[3 * i + channel] / scale) - mean[place]) / std[place]);
  }
  return found;
}

// The most likely classes: [{label, probability}], the lower index first where two are equal.
export function likeliest(logits, labels, temperature, most) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp((logit - largest) / (temperature ?? 1)));
  const sum = powers.reduce((total, power) => total + power, 0);
  const order = powers.map((_, index) => index).sort((a, b) => powers[b] - powers[a] || a - b);
  return order.slice(0, most).map((index) => ({ label: labels[index], probability: powers[index] / sum }));
}
