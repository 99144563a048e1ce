() => {
  if (window.eraseCompare) return;
  window.eraseCompare = true;
  const find = (selector, within = document) => within.querySelector(selector);
  const name = (selector, words) => {
    const button = find(selector);
    if (button) { button.setAttribute("aria-label", words); button.title = words; }
  };
  name("#dice", "Random seed: another one at each press of Draw");
  name("#reuse", "The seed of the images below");

  // --- Ctrl + Enter draws ---
  document.addEventListener("keydown", event => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.closest?.("#prompt, #negative")) {
      event.preventDefault();
      event.stopPropagation();
      const draw = find("#draw");
      if (draw && !draw.disabled) draw.click();
    }
  }, true);

  // --- one image, large ---
  const box = document.createElement("dialog");
  box.id = "lightbox";
  box.setAttribute("aria-label", "One image, large");
  box.innerHTML = `
    <div class="top"><p class="who"></p><button type="button" class="close" aria-label="Close">×</button></div>
    <p class="asked"></p>
    <div class="stage"><img class="over" alt=""><img class="under" alt=""></div>
    <label class="wipe"><span>original</span>
      <input type="range" min="0" max="100" value="0" aria-label="Share of the original that lies over the erased image"><span>erased</span></label>
    <p class="facts" aria-live="polite"></p>
    <div class="actions">
      <button type="button" class="previous">← Previous</button><button type="button" class="next">Next →</button>
      <button type="button" class="other">Other model</button><button type="button" class="seed">Use this seed</button>
      <a class="save" hidden>Download (png)</a>
    </div>
    <p class="keys">← → images, ↑ ↓ models, Esc closes; on the slider, ← → move it.</p>`;
  (find(".gradio-container") ?? document.body).append(box);
  const over = find(".over", box), under = find(".under", box), wipe = find("input", box), sides = find(".wipe", box);
  let place = null;

  const shots = () => [...document.querySelectorAll("#grid .shot")];
  const at = wanted => find(`#grid .shot[data-place="${wanted}"]`);
  const files = () => find("#grid .bench")?.dataset ?? {};
  const file = wanted => {
    const {key, show} = files();
    return key ? `keep/${key}/${wanted}.png${show ? "?show=1" : ""}` : "";
  };
  const put = (image, shot) => {  // the small image at once, the whole one when it has come
    const small = find("img", shot);
    image.src = small.src;
    image.alt = small.alt;
    const whole = file(shot.dataset.place);
    if (!whole || small.naturalWidth <= 128) return;
    const loading = new Image();
    loading.onload = () => { if (image.alt === small.alt) image.src = loading.src; };
    loading.src = whole;
  };
  const cut = () => {
    under.style.clipPath = `inset(0 0 0 ${wipe.value}%)`;
    wipe.setAttribute("aria-valuetext", `original ${wipe.value}%, erased ${100 - wipe.value}%`);
  };
  const show = shot => {
    if (!shot) return;
    place = shot.dataset.place;
    const [prompt, model, index] = place.split("-"), original = at(`${prompt}-0-${index}`), data = shot.dataset;
    const pair = model !== "0" && original;
    find(".who", box).textContent = data.who;
    find(".asked", box).textContent = shot.closest(".line").getAttribute("aria-label");
    find(".facts", box).textContent = [data.mark, `seed ${data.seed}`, data.found].filter(Boolean).join(" · ");
    put(under, shot);
    if (pair) put(over, original);
    over.hidden = !pair;
    sides.hidden = !pair;
    find(".other", box).hidden = !at(`${prompt}-1-${index}`);
    const save = find(".save", box);
    save.hidden = !files().key;
    if (!save.hidden) { save.href = file(place); save.download = `seed-${data.seed}.png`; }
    cut();
  };
  const step = by => {  // within a model, from prompt to prompt
    const own = shots().filter(shot => shot.dataset.place.split("-")[1] === place.split("-")[1]);
    const now = own.findIndex(shot => shot.dataset.place === place);
    show(own[(now + by + own.length) % own.length]);
  };
  const turn = by => {  // the same prompt and seed by another model
    const [prompt, , index] = place.split("-");
    const same = shots().filter(shot => { const part = shot.dataset.place.split("-"); return part[0] === prompt && part[2] === index; });
    const now = same.findIndex(shot => shot.dataset.place === place);
    show(same[(now + by + same.length) % same.length]);
  };
  const close = () => box.close();

  document.addEventListener("click", event => {
    const shot = event.target.closest?.("#grid .shot");
    if (!shot) return;
    wipe.value = 0;
    show(shot);
    box.showModal();
    find(".next", box).focus();
  });
  box.addEventListener("close", () => at(place)?.focus());
  box.addEventListener("click", event => { if (event.target === box) close(); });
  find(".close", box).onclick = close;
  find(".previous", box).onclick = () => step(-1);
  find(".next", box).onclick = () => step(1);
  find(".other", box).onclick = () => turn(1);
  find(".seed", box).onclick = () => {
    const field = find("#seed input");
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(field, at(place).dataset.seed);
    field.dispatchEvent(new Event("input", {bubbles: true}));
    close();
    field.focus();
  };
  wipe.addEventListener("input", cut);
  box.addEventListener("keydown", event => {
    const moves = {ArrowLeft: () => step(-1), ArrowRight: () => step(1), ArrowUp: () => turn(-1), ArrowDown: () => turn(1)};
    if (!(event.key in moves) || event.target === wipe) return;
    event.preventDefault();
    moves[event.key]();
  });
}
