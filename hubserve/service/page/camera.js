// The camera, asked for by a click only and released as soon as it is not shown.
import { byId } from './dom.js';

let stream = null;

export async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia) throw new Error('The browser offers cameras only to pages on https or on this machine.');
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment', width: { ideal: 1280 } }, audio: false });
  } catch (error) {
    throw new Error(error.name === 'NotAllowedError' ? 'The browser was not allowed to use the camera.' : 'There is no camera that can be used.');
  }
  const video = byId('camera');
  video.srcObject = stream;
  await video.play();
  show(true);
}

export function closeCamera() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  byId('camera').srcObject = null;
  show(false);
}

// The frame as it is: all of its pixels, and PNG, which loses nothing.
export function shoot() {
  const video = byId('camera');
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext('2d').drawImage(video, 0, 0);
  return new Promise((resolve) => { canvas.toBlob(resolve, 'image/png'); });
}

function show(on) {
  for (const id of ['camera', 'camera-shoot', 'camera-stop']) byId(id).hidden = !on;
  for (const id of ['camera-start', 'choose']) byId(id).hidden = on;
}
