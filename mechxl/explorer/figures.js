// The explorer's figures. The state of the model holds one plotly figure as JSON for each name; a click is sent back as
// a message, and so is a still picture of all figures, which a saved notebook keeps.

const NAMES = ["map", "board", "curves", "attention", "patch"];
const STILL = { width: 620, height: 400, gap: 12, title: 26, wait: 1200 }; // pixels, and milliseconds

/** plotly, evaluated once for a page: every explorer on it uses the same. */
function plotly(model) {
  window.mechxlPlotly ??= load(model).catch((error) => {
    window.mechxlPlotly = undefined; // the next explorer tries again
    throw error;
  });
  return window.mechxlPlotly;
}

async function load(model) {
  const library = await model.widget_manager.get_model(model.get("library").replace("IPY_MODEL_", ""));
  const holder = { exports: {} };
  // plotly's script looks for a module to fill, and else for a global name
  new Function("module", "exports", "define", library.get("script"))(holder, holder.exports, undefined);
  return holder.exports;
}

/** A figure's JSON, with the colours of the page's theme. */
function parsed(model, name) {
  let text = model.get(name);
  if (document.body.dataset.jpThemeLight === "false")
    for (const [light, dark] of Object.entries(model.get("dark"))) text = text.replaceAll(light, dark);
  return JSON.parse(text);
}

async function render({ model, el }) {
  el.classList.add("mechxl-figures"); // told by it, the style of the output hides the still picture
  const Plotly = await plotly(model);
  const places = {}, waiting = {};
  let still = 0, gone = false;

  const draw = (name) => {
    waiting[name] = (waiting[name] || Promise.resolve()).then(async () => { // one after the other
      if (gone) return;
      const { plot, title } = places[name];
      const { data, layout } = parsed(model, name);
      title.textContent = layout.title.text;
      delete layout.title;
      const config = { displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
      await Plotly.react(plot, data, { ...layout, autosize: true }, config);
      if (!plot.dataset.drawn) plot.on("plotly_click", ({ points: [point] }) =>
        model.send({ kind: "click", figure: name, trace: point.curveNumber, point: point.pointNumber }));
      plot.dataset.drawn = "yes";
      fit(plot); // it may have been drawn before its cell had a width
      clearTimeout(still);
      still = setTimeout(() => picture(Plotly, places).then((png) => gone || model.send({ kind: "still", png })), STILL.wait);
    }).catch((error) => { places[name].title.textContent = `${name} can't be drawn: ${error.message}`; throw error; });
  };

  const fit = (plot) => {
    const drawn = plot.dataset.drawn && plot.clientWidth;
    if (drawn && Math.round(plot._fullLayout.width) !== plot.clientWidth) Plotly.Plots.resize(plot);
  };

  for (const name of NAMES) {
    const figure = el.appendChild(document.createElement("figure"));
    const title = figure.appendChild(document.createElement("figcaption"));
    const plot = figure.appendChild(document.createElement("div"));
    plot.dataset.figure = name;
    places[name] = { plot, title };
    draw(name);
  }
  const listeners = NAMES.map((name) => [`change:${name}`, () => draw(name)]);
  for (const [event, listener] of listeners) model.on(event, listener);
  const wide = new ResizeObserver(() => Object.values(places).forEach(({ plot }) => fit(plot)));
  wide.observe(el);
  const theme = new MutationObserver(() => NAMES.forEach(draw));
  theme.observe(document.body, { attributeFilter: ["data-jp-theme-light"] });
  return () => {
    gone = true;
    clearTimeout(still);
    wide.disconnect();
    theme.disconnect();
    for (const [event, listener] of listeners) model.off(event, listener);
    for (const { plot } of Object.values(places)) Plotly.purge(plot);
  };
}

/** All figures with their titles as one PNG, two in a row, in base64. */
async function picture(Plotly, places) {
  const { width, height, gap, title } = STILL, shown = Object.values(places);
  const canvas = document.createElement("canvas"), brush = canvas.getContext("2d");
  canvas.width = 2 * width + gap;
  canvas.height = Math.ceil(shown.length / 2) * (height + title + gap);
  brush.fillStyle = document.body.dataset.jpThemeLight === "false" ? "#1B1F27" : "#FFFFFF";
  brush.fillRect(0, 0, canvas.width, canvas.height);
  for (const [index, place] of shown.entries()) {
    const image = new Image();
    image.src = await Plotly.toImage(place.plot, { format: "png", width, height, scale: 1 });
    await image.decode();
    const left = (index % 2) * (width + gap), top = Math.floor(index / 2) * (height + title + gap);
    brush.fillStyle = document.body.dataset.jpThemeLight === "false" ? "#E6E8EC" : "#1F2430";
    brush.font = "14px system-ui, sans-serif";
    brush.fillText(place.title.textContent, left + 8, top + 19);
    brush.drawImage(image, left, top + title);
  }
  return canvas.toDataURL("image/png").split(",")[1];
}

export default { render };
