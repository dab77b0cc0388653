"use strict";

// Elements of the page. Every text, whatever a store holds, goes in as text or as an attribute's
// value and never as markup.
(function (dvis) {
  const SVG = "http://www.w3.org/2000/svg";

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "on") {
        for (const [event, listener] of Object.entries(value)) {
          node.addEventListener(event, listener);
        }
      } else if (name === "style") {
        // By CSSOM: the page's content security policy forbids style attributes.
        for (const [property, setting] of Object.entries(value)) {
          node.style.setProperty(property, setting);
        }
      } else if (name === "value") {
        node.value = value;
      } else {
        node.setAttribute(name, value === true ? "" : String(value));
      }
    }
    append(node, children);
    return node;
  }

  function append(node, children) {
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      node.append(child instanceof Node ? child : String(child));
    }
  }

  function element(tag, attributes, ...children) {
    return fill(document.createElement(tag), attributes, children);
  }

  function svg(tag, attributes, ...children) {
    return fill(document.createElementNS(SVG, tag), attributes, children);
  }

  function replace(node, ...children) {
    node.replaceChildren();
    append(node, children);
    return node;
  }

  /** A button with a text, or with a sign and a text for who does not see the sign. */
  function button(text, onClick, attributes = {}) {
    return element("button", { type: "button", ...attributes, on: { click: onClick } }, text);
  }

  /** A labelled drop-down; `options` are [value, text] pairs. */
  function choice(label, options, value, onChange, attributes = {}) {
    const select = element(
      "select",
      { ...attributes, on: { change: (event) => onChange(event.target.value) } },
      options.map(([name, text]) => element("option", { value: name }, text))
    );
    select.value = value;
    return element("label", { class: "field" }, element("span", {}, label), select);
  }

  /** Drawn again whenever its own width changes; `draw` is given the width in pixels. */
  function fitted(className, draw) {
    const holder = element("div", { class: className });
    let width = 0;
    const redraw = () => {
      if (width > 0) replace(holder, draw(width));
    };
    const observer = new ResizeObserver(() => {
      const now = Math.floor(holder.clientWidth);
      if (now === width || now === 0) return;
      width = now;
      redraw();
    });
    observer.observe(holder);
    return { element: holder, redraw };
  }

  let announcing = 0;

  /** Tell a screen reader, once what is told has stopped changing. */
  function announce(text) {
    window.clearTimeout(announcing);
    announcing = window.setTimeout(() => {
      document.getElementById("announcer").textContent = text;
    }, 250);
  }

  Object.assign(dvis, { element, svg, replace, button, choice, fitted, announce });
})((window.dvis = window.dvis || {}));
